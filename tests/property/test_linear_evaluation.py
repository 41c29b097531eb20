"""Linear layers on random words against exact Python integers, all shapes small enough to check."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from fhe_layers import rns
from fhe_layers.layers import linear
from fhe_layers.moduli import ntt_primes
from fhe_layers.packing import SingleRecordLayout

LIMIT = (1 << 15) - 1
WEIGHT = st.one_of(st.integers(-LIMIT, LIMIT), st.sampled_from([-LIMIT, -1, 0, 1, LIMIT]))


@st.composite
def problems(draw: st.DrawFn) -> tuple[int, tuple[int, ...], np.ndarray, np.ndarray, int, int]:
    """Degree, moduli, weights (J, K), biases (J,), input scale and a seed for the words."""
    degree = draw(st.sampled_from([8, 32]))
    bits = draw(st.sampled_from([58, 60, 61]))
    moduli = ntt_primes(8192, bits, draw(st.integers(1, 3)))
    features = draw(st.integers(1, degree))
    outputs = draw(st.integers(1, degree // features))
    row = st.lists(WEIGHT, min_size=features, max_size=features)
    weights = draw(st.lists(row, min_size=outputs, max_size=outputs))
    bias = draw(st.lists(WEIGHT, min_size=outputs, max_size=outputs))
    scale, seed = draw(st.integers(10, 139)), draw(st.integers(0, 2**32 - 1))
    return degree, moduli, np.array(weights), np.array(bias), scale, seed


def random_words(shape: tuple[int, ...], moduli: tuple[int, ...], seed: int) -> np.ndarray:
    """Uniform words `(..., limb, n)`, with the extremes 0 and q - 1 present."""
    rng = np.random.default_rng(seed)
    words = np.empty(shape, dtype=np.uint64)
    for limb, q in enumerate(moduli):
        words[..., limb, :] = rng.integers(0, q, (*shape[:-2], shape[-1]), dtype=np.uint64)
        words[..., limb, 0], words[..., limb, -1] = 0, q - 1
    return words


def add(left: np.ndarray, right: np.ndarray, moduli: tuple[int, ...]) -> np.ndarray:
    """Sum of two arrays of words `(..., limb, n)`."""
    column = np.array(moduli, dtype=object)[:, None]
    return ((left.astype(object) + right.astype(object)) % column).astype(np.uint64)


@given(problems())
def test_a_batch_is_the_integer_combination_plus_the_bias(
    problem: tuple[int, tuple[int, ...], np.ndarray, np.ndarray, int, int],
) -> None:
    degree, moduli, weights, bias, scale, seed = problem
    outputs, features = weights.shape
    inputs = random_words((features, 2, len(moduli), degree), moduli, seed)
    got = linear.evaluate_batch(inputs, weights, bias, input_scale_log2=scale, moduli=moduli)
    assert got.shape == (outputs, 2, len(moduli), degree)
    exact = np.tensordot(weights.astype(object), inputs.astype(object), axes=1)
    exact[:, 0] += (bias.astype(object) * (1 << scale))[:, None, None]
    for limb, q in enumerate(moduli):
        assert got[:, :, limb].tolist() == (exact[:, :, limb] % q).tolist()


@given(problems())
def test_a_single_record_gives_the_dot_products_of_its_coefficients(
    problem: tuple[int, tuple[int, ...], np.ndarray, np.ndarray, int, int],
) -> None:
    degree, moduli, weights, _, _, seed = problem
    layout = SingleRecordLayout(degree, weights.shape[1], weights.shape[0])
    coefficients = random_words((2, len(moduli), degree), moduli, seed)
    coefficients[:, :, layout.features :] = 0  # a record has K coefficients and zeros
    record = np.stack([rns.to_ntt(poly, moduli) for poly in coefficients])
    output = linear.evaluate_single(record, weights, layout=layout, moduli=moduli)
    for poly, words in zip(coefficients, output, strict=True):
        read = rns.to_coefficients(words, moduli)[:, layout.output_positions]
        for limb, q in enumerate(moduli):
            features = poly[limb, : layout.features].astype(object)
            assert read[limb].tolist() == (weights.astype(object) @ features % q).tolist()


@given(problems())
def test_evaluation_is_linear_in_the_inputs(
    problem: tuple[int, tuple[int, ...], np.ndarray, np.ndarray, int, int],
) -> None:
    degree, moduli, weights, bias, scale, seed = problem
    shape = (weights.shape[1], 2, len(moduli), degree)
    left, right = (random_words(shape, moduli, seed + i) for i in range(2))
    no_bias = np.zeros_like(bias)
    total = add(left, right, moduli)
    whole, first, second = (
        linear.evaluate_batch(words, weights, constant, input_scale_log2=scale, moduli=moduli)
        for words, constant in ((total, bias), (left, no_bias), (right, bias))
    )
    np.testing.assert_array_equal(whole, add(first, second, moduli))
