"""The slot encoder against SEAL's and against the definition of the embedding."""

from __future__ import annotations

import cmath
import math
from fractions import Fraction

import numpy as np
import pytest

from fhe_layers import rns, seal_stream
from fhe_layers.ckks import CkksContext
from fhe_layers.encoding import decode_slots, encode_slots
from fhe_layers.moduli import modulus_chain, ntt_primes
from protocol.parameters import CkksParameters

DEGREE = 8192


def coefficients(words: rns.Words, moduli: tuple[int, ...]) -> list[int]:
    return rns.centred_integers(rns.to_coefficients(words, moduli), moduli)


@pytest.mark.parametrize("records", [1, 5, 8])
def test_slots_are_values_at_the_powers_of_three(rng: np.random.Generator, records: int):
    degree, scale = 16, 40
    moduli = tuple(ntt_primes(degree, 60, 2))
    values = rng.uniform(-4, 4, (2, records))
    for row, words in zip(values, encode_slots(values, degree, scale, moduli), strict=True):
        polynomial = coefficients(words, moduli)
        for slot in range(degree // 2):
            root = cmath.exp(1j * math.pi * pow(3, slot, 2 * degree) / degree)
            value = sum(c * root**j for j, c in enumerate(polynomial)) / 2**scale
            assert abs(value - (row[slot] if slot < records else 0)) < degree * 2.0**-scale


@pytest.mark.parametrize("scale", [30, 58, 100, 139])
def test_seal_encodes_the_same_polynomial(rng: np.random.Generator, scale: int):
    moduli, special = modulus_chain(DEGREE, 3)
    context = CkksContext(CkksParameters(DEGREE, moduli, special, scale))
    values = rng.normal(size=(1, 143)) * 8
    plaintext = context.library.Plaintext()
    context.encoder.encode(values[0].tolist(), 2.0**scale, plaintext)
    stream = seal_stream.read_plaintext(seal_stream.save(plaintext)).words.reshape(3, DEGREE)
    expected = coefficients(stream.astype(np.uint64), moduli)
    found = coefficients(encode_slots(values, DEGREE, scale, moduli)[0], moduli)
    largest = max(map(abs, expected))
    tolerance = 2 + (largest >> 44)  # both compute in double precision
    assert largest > 2 ** (scale - 6)
    assert max(abs(a - b) for a, b in zip(found, expected, strict=True)) <= tolerance


def test_vectors_are_encoded_independently(rng: np.random.Generator):
    moduli = modulus_chain(DEGREE, 2)[0]
    values = rng.uniform(-1, 1, (3, 10))
    together = encode_slots(values, DEGREE, 50, moduli)
    for row, words in zip(values, together, strict=True):
        assert np.array_equal(encode_slots(row[None], DEGREE, 50, moduli)[0], words)


def test_zeros_encode_to_zero():
    moduli = modulus_chain(DEGREE, 1)[0]
    assert not encode_slots(np.zeros((1, 4)), DEGREE, 40, moduli).any()


@pytest.mark.parametrize(("limbs", "scale"), [(1, 40), (3, 139), (6, 139)])
def test_slots_decode_to_what_was_encoded(rng: np.random.Generator, limbs: int, scale: int):
    moduli = tuple(ntt_primes(DEGREE, 60, limbs))
    values = rng.normal(size=(1, DEGREE // 2))
    words = encode_slots(values, DEGREE, scale, moduli)[0]
    found = decode_slots(rns.to_coefficients(words, moduli), Fraction(2) ** scale, moduli)
    assert np.abs(found - values[0]).max() < 2.0 ** -min(scale - 8, 46)


@pytest.mark.parametrize("scale", [Fraction(2**700, 3), Fraction(2**640), Fraction(2**60, 7)])
def test_decoding_evaluates_the_polynomial_whatever_its_size(
    rng: np.random.Generator, scale: Fraction
):
    degree, moduli = 16, tuple(ntt_primes(8192, 60, 12))
    polynomial = [int(x * 2**40) * int(scale) >> 40 for x in rng.normal(size=degree)]
    words = np.array([[c % q for c in polynomial] for q in moduli], dtype=np.uint64)
    found = decode_slots(words, scale, moduli)
    for slot, value in enumerate(found):
        root = cmath.exp(1j * math.pi * pow(3, slot, 2 * degree) / degree)
        exact = sum(float(Fraction(c) / scale) * root**j for j, c in enumerate(polynomial)).real
        assert abs(value - exact) < 2.0**-40


@pytest.mark.parametrize("limbs", [1, 2, 3, 7])
def test_centred_digits_are_the_integer_in_mixed_radix(rng: np.random.Generator, limbs: int):
    moduli = tuple(ntt_primes(8192, 60, limbs))
    product = math.prod(moduli)
    half = product // 2
    integers = [0, 1, -1, half, -half, half - 1]
    integers += [int.from_bytes(rng.bytes(8 * limbs)) % product - half for _ in range(50)]
    if limbs > 1:
        first = moduli[0]
        integers += [first, -first, first // 2 + 1, -first // 2 - 1]
        integers += [int(value) for value in rng.integers(-(2**62), 2**62, 50)]
    words = np.array([[value % q for value in integers] for q in moduli], dtype=np.uint64)
    digits = rns.centred_digits(words, moduli)
    for digit, q in zip(digits, moduli, strict=True):
        assert np.abs(digit).max() <= q // 2
    for i, value in enumerate(integers):
        total = 0
        for digit, q in zip(reversed(digits), reversed(moduli), strict=True):
            total = total * q + int(digit[i])
        assert total == value
