"""The slot encoder's transform: what it computes, and that it is the same to the last bit."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fhe_layers.encoding import encode_slots
from fhe_layers.interpolation import coefficients_of_slots
from fhe_layers.moduli import ntt_primes
from tests.reference.interpolation import exact_coefficients, scalar_coefficients
from tests.vectors.generate import FOLDER, encoding_vector

DOUBLES = st.floats(-1e6, 1e6, allow_subnormal=True)


@settings(max_examples=40, deadline=None)
@given(log2=st.integers(3, 6), data=st.data())
def test_coefficients_are_those_of_the_definition(log2: int, data: st.DataObject):
    degree = 1 << log2
    slots = data.draw(st.lists(DOUBLES, min_size=1, max_size=degree // 2))
    found = coefficients_of_slots(np.array([slots]), degree)[0].tolist()
    largest = max(map(abs, slots))
    for value, exact in zip(found, exact_coefficients(slots, degree), strict=True):
        assert abs(value - exact) <= degree * (largest * 2.0**-50 + 2.0**-1070)  # underflow


@pytest.mark.accepts("C-79")
@settings(max_examples=40, deadline=None)
@given(log2=st.integers(3, 9), seed=st.integers(0, 2**32 - 1), scale=st.integers(-60, 60))
def test_every_bit_is_that_of_single_operations(log2: int, seed: int, scale: int):
    """NumPy neither fuses nor reorders: Python's floats, one by one, give the same doubles."""
    degree = 1 << log2
    rng = np.random.default_rng(seed)
    slots = np.ldexp(rng.normal(size=(1, int(rng.integers(1, degree // 2 + 1)))), scale)
    found = coefficients_of_slots(slots, degree)[0]
    assert found.tolist() == scalar_coefficients(slots[0].tolist(), degree)


@pytest.mark.rejects("C-79")
def test_a_vectors_words_do_not_depend_on_what_is_beside_it(rng: np.random.Generator):
    """Neither on how many there are, nor on larger ones, nor on where in memory it is."""
    degree, moduli = 1024, tuple(ntt_primes(1024, 60, 3))
    values = rng.normal(size=(37, 200)) * 2.0 ** rng.integers(-40, 40, (37, 1))
    together = encode_slots(values, degree, 100, moduli)
    strided = np.asfortranarray(np.repeat(values, 2, axis=1))[::-1, ::2]
    assert np.array_equal(encode_slots(strided, degree, 100, moduli)[::-1], together)
    for row in (0, 3, 36):
        assert np.array_equal(
            encode_slots(values[row : row + 1], degree, 100, moduli)[0], together[row]
        )
    padded = np.zeros((1, degree // 2))
    padded[0, :200] = values[5]
    assert np.array_equal(encode_slots(padded, degree, 100, moduli)[0], together[5])


@pytest.mark.rejects("C-79")
def test_the_words_are_those_of_every_other_machine():
    """Recorded once; a machine or a library that differs in a bit fails here, not in a proof."""
    recorded = json.loads((FOLDER / "encodings.json").read_text())
    assert encoding_vector() == recorded
    values = np.array([[0.5, -3.0]])
    changed = encode_slots(np.nextafter(values, 1), 8192, 60, tuple(ntt_primes(8192, 60, 3)))
    assert hashlib.sha256(changed.tobytes()).hexdigest() not in recorded.values()
