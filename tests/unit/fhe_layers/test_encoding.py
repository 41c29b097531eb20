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
from protocol.bounds import DECODER_ERROR_LOG2, ENCODER_ERROR_LOG2
from protocol.errors import RangeError
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
    values = rng.normal(size=(2, DEGREE // 2))
    words = encode_slots(values, DEGREE, scale, moduli)
    rows = np.stack([rns.to_coefficients(row, moduli) for row in words])
    found = (decode_slots(rows, moduli) / 2**scale).astype(np.float64)
    assert np.abs(found - values).max() < 2.0 ** -min(scale - 8, 46)


@pytest.mark.parametrize("scale", [60, 100])
@pytest.mark.parametrize("magnitude_log2", [10, 0, -15, -30, -60])
def test_the_encoders_error_is_bounded_for_every_range(
    rng: np.random.Generator, magnitude_log2: int, scale: int
):
    """One rounding per coefficient, gathered in a slot, and a part of the largest value itself."""
    moduli = tuple(ntt_primes(DEGREE, 60, 3))
    values = np.ldexp(rng.uniform(-1, 1, (1, DEGREE // 2)), magnitude_log2)
    words = encode_slots(values, DEGREE, scale, moduli)
    found = decode_slots(rns.to_coefficients(words[0], moduli)[None], moduli)[0]
    exact = [Fraction(value) * 2**scale for value in values[0].tolist()]
    error = max(abs(a - b) for a, b in zip(found, exact, strict=True))
    assert error <= DEGREE + math.ldexp(1.0, magnitude_log2 + scale + ENCODER_ERROR_LOG2)


def exact_slots(polynomial: list[int], slots: range) -> list[Fraction]:
    """Real parts of slots in fixed point with 300 bits, from the definition."""
    bits, degree = 300, len(polynomial)
    one = 1 << bits
    cosine, sine = 0, one
    for _ in range(degree.bit_length() - 2):
        cosine, sine = math.isqrt((one + cosine) * one // 2), math.isqrt((one - cosine) * one // 2)
    cosines, x, y = [], one, 0
    for _ in range(2 * degree):
        cosines.append(x)
        x, y = (x * cosine - y * sine) >> bits, (x * sine + y * cosine) >> bits
    roots = [pow(3, slot, 2 * degree) for slot in slots]
    return [
        Fraction(sum(c * cosines[r * j % (2 * degree)] for j, c in enumerate(polynomial)), one)
        for r in roots
    ]


@pytest.mark.parametrize("factor", [1, 3, (1 << 60) - 93, (1 << 182) // 7])
@pytest.mark.parametrize(
    ("degree", "limbs", "size_log2"),
    [
        (8, 1, 3),
        (8, 2, 100),
        (16, 12, 700),
        (64, 3, 60),
        (64, 3, 170),
        (8192, 3, 170),
        (8192, 6, 90),
    ],
)
def test_decoding_is_exact_to_ninety_bits(
    rng: np.random.Generator, degree: int, limbs: int, size_log2: int, factor: int
):
    """The bound that protocol.bounds counts, and no worse than what adds up without luck."""
    moduli = tuple(ntt_primes(8192, 60, limbs))
    polynomials = [
        [
            int.from_bytes(rng.bytes(100)) % (2 << size_log2) - (1 << size_log2)
            for _ in range(degree)
        ]
        for _ in range(2)
    ]
    words = np.array([[[c % q for c in p] for q in moduli] for p in polynomials], dtype=np.uint64)
    found = decode_slots(words, moduli, factor)
    slots = range(degree // 2) if degree < 100 else range(40, 43)
    for row, polynomial in zip(found, polynomials, strict=True):
        largest = max(map(abs, row))
        for slot, exact in zip(slots, exact_slots(polynomial, slots), strict=True):
            error = abs(row[slot] - factor * exact)
            assert error <= 1 + Fraction(largest) / (1 << -DECODER_ERROR_LOG2)
            assert error <= 1 + Fraction(largest) / (1 << 100)


@pytest.mark.parametrize("value", [1, -(2**59), 2**100 + 1, 2**169 // 3])
def test_what_gathers_in_one_slot_is_decoded_as_well(value: int):
    """Coefficients of one magnitude whose signs are those of a slot's cosines."""
    degree, moduli = 64, tuple(ntt_primes(8192, 60, 3))
    signs = [1 if math.cos(math.pi * 27 * j / degree) > 0 else -1 for j in range(degree)]
    polynomial = [sign * value for sign in signs]
    words = np.array([[[c % q for c in polynomial] for q in moduli]], dtype=np.uint64)
    (found,) = decode_slots(words, moduli)
    exact = exact_slots(polynomial, range(degree // 2))
    assert max(map(abs, exact)) > 0.6 * degree * abs(value)
    error = max(abs(a - b) for a, b in zip(found, exact, strict=True))
    assert error <= 1 + max(map(abs, exact)) / (1 << 100)


def test_a_modulus_beyond_the_range_of_doubles_is_refused():
    moduli = tuple(ntt_primes(8192, 60, 16))
    words = np.zeros((1, 16, 16), dtype=np.uint64)
    with pytest.raises(RangeError):
        decode_slots(words, moduli)
    assert not decode_slots(words[:, :15], moduli[:15]).any()


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
