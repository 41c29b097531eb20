from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_layers.moduli import ntt_primes
from fhe_layers.packing import SingleRecordLayout, fixed_point
from protocol.errors import EncodingError, NonFiniteError, ParameterError, ShapeError
from protocol.packing import weight_positions

PRIME = ntt_primes(8192, 60, 1)[0]


def negacyclic_product(left: list[int], right: list[int]) -> list[int]:
    """Schoolbook multiplication in Z[X]/(X^n + 1)."""
    size = len(left)
    product = [0] * size
    for i, a in enumerate(left):
        for j, b in enumerate(right):
            product[(i + j) % size] += a * b if i + j < size else -a * b
    return product


@st.composite
def layouts(draw: st.DrawFn) -> SingleRecordLayout:
    degree = draw(st.sampled_from([2, 16, 64]))
    features = draw(st.integers(1, degree))
    return SingleRecordLayout(degree, features, draw(st.integers(1, degree // features)))


@given(layouts(), st.integers(0, 2**32 - 1))
def test_the_owed_coefficients_are_the_dot_products(layout: SingleRecordLayout, seed: int) -> None:
    rng = np.random.default_rng(seed)
    weights = rng.integers(-32767, 32768, (layout.outputs, layout.features))
    record = rng.integers(-1000, 1000, layout.features)
    padded = record.tolist() + [0] * (layout.ring_degree - layout.features)
    product = negacyclic_product(padded, layout.weight_polynomial(weights).tolist())
    owed = [product[position] for position in layout.output_positions]
    assert owed == (weights @ record).tolist()


@given(layouts())
def test_no_coefficient_holds_two_weights(layout: SingleRecordLayout) -> None:
    index, _ = weight_positions(layout.outputs, layout.features, layout.ring_degree)
    positions = index.reshape(-1)
    assert np.unique(positions).size == positions.size
    assert positions.min() >= 0
    assert positions.max() < layout.ring_degree


def test_a_full_polynomial_fits_and_one_more_does_not() -> None:
    assert SingleRecordLayout(64, 8, 8).output_positions.tolist() == list(range(0, 64, 8))
    with pytest.raises(ParameterError):
        SingleRecordLayout(64, 13, 5)


@pytest.mark.parametrize(("degree", "features", "outputs"), [(3, 1, 1), (64, 0, 1), (64, 1, 0)])
def test_meaningless_layouts_are_refused(degree: int, features: int, outputs: int) -> None:
    with pytest.raises(ParameterError):
        SingleRecordLayout(degree, features, outputs)


def test_arrays_of_another_shape_are_refused() -> None:
    layout = SingleRecordLayout(64, 5, 3)
    with pytest.raises(ShapeError):
        layout.weight_polynomial(np.zeros((5, 3), dtype=np.int64))
    with pytest.raises(ShapeError):
        layout.response_ciphertext(
            np.zeros((3, 2), dtype=np.uint64),
            np.zeros((2, 32), dtype=np.uint64),
            ntt_primes(8192, 60, 2),
        )


def test_a_response_with_a_word_that_is_not_canonical_is_refused() -> None:
    layout = SingleRecordLayout(64, 5, 3)
    body, mask = np.zeros((3, 1), dtype=np.uint64), np.zeros((1, 64), dtype=np.uint64)
    body[1, 0] = PRIME
    with pytest.raises(EncodingError):
        layout.response_ciphertext(body, mask, (PRIME,))
    body[1, 0], mask[0, 63] = 0, PRIME
    with pytest.raises(EncodingError):
        layout.response_ciphertext(body, mask, (PRIME,))


@given(st.lists(st.floats(-1e9, 1e9), min_size=1, max_size=8), st.integers(10, 139))
def test_fixed_point_is_the_nearest_integer_exactly(values: list[float], scale: int) -> None:
    encoded = fixed_point(np.array(values), scale)
    assert encoded == [round(Fraction(value) * 2**scale) for value in values]


def test_fixed_point_refuses_what_has_no_integer() -> None:
    for value in (np.nan, np.inf, -np.inf):
        with pytest.raises(NonFiniteError):
            fixed_point(np.array([1.0, value]), 40)
    with pytest.raises(ShapeError):
        fixed_point(np.zeros((1, 2)), 40)
