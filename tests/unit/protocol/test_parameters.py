from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import decode, encode
from protocol.errors import EncodingError, ParameterError
from protocol.parameters import (
    LINEAR_CODE,
    MAX_MODULUS_BITS,
    QUADRATIC_CODE,
    CkksParameters,
    CodeParameters,
    is_prime,
)
from tests.adversarial.scenario import DEGREE, MODULI, SPECIAL


def primes(bits: int, degree: int, count: int) -> list[int]:
    found: list[int] = []
    candidate = (1 << bits) + 1 - 2 * degree
    while len(found) < count:
        if is_prime(candidate):
            found.append(candidate)
        candidate -= 2 * degree
    return found


@pytest.mark.accepts("C-01")
def test_the_table_is_the_documented_one():
    assert MAX_MODULUS_BITS == {4096: 106, 8192: 214, 16384: 430, 32768: 868}


@pytest.mark.accepts("C-01")
@pytest.mark.rejects("C-01")
@pytest.mark.parametrize("degree", sorted(MAX_MODULUS_BITS))
def test_moduli_up_to_the_limit_and_none_beyond(degree):
    limit = MAX_MODULUS_BITS[degree]
    limbs = (limit - 30) // 60
    data = primes(60, degree, limbs + 1)
    rest = limit - 60 * limbs
    fits = [b for b in range(30, 61) if b <= rest]
    special = primes(fits[-1], degree, limbs + 2)[-1]
    accepted = CkksParameters(degree, tuple(data[:limbs]), special, 40)
    assert math.log2(accepted.modulus * special) <= limit
    with pytest.raises(ParameterError, match="128-bit"):
        CkksParameters(degree, tuple(data), special, 40)


@pytest.mark.rejects("C-01")
@pytest.mark.parametrize("degree", [0, 1024, 2048, 8191, 65536])
def test_other_ring_degrees_are_refused(degree):
    with pytest.raises(ParameterError, match="ring degree"):
        CkksParameters(degree, MODULI, SPECIAL, 40)


@pytest.mark.accepts("C-02")
@pytest.mark.parametrize("bits", [60, 61])
def test_data_primes_have_60_or_61_bits(bits):
    chain = primes(bits, 32768, 13 if bits == 60 else 3)
    accepted = CkksParameters(32768, tuple(chain), primes(40, 32768, 1)[0], 69)
    assert {prime.bit_length() for prime in accepted.moduli} == {bits}


INVALID = {
    "no moduli": {"moduli": ()},
    "one prime twice": {"moduli": (MODULI[0], MODULI[0])},
    "special among the data primes": {"moduli": (*MODULI[:2], SPECIAL)},
    "composite": {"moduli": (MODULI[0] + 2 * DEGREE * 6,)},
    "not 1 mod 2N": {"moduli": ((1 << 60) - 93,)},
    "too small a prime": {"moduli": (primes(59, DEGREE, 1)[0],)},
    "too large a prime": {"moduli": (primes(62, DEGREE, 1)[0],)},
    "special too small": {"special_modulus": primes(29, DEGREE, 1)[0]},
    "negative": {"moduli": (-MODULI[0],)},
    "zero": {"moduli": (0,)},
    "scale too small": {"input_scale_log2": 9},
    "scale too large": {"input_scale_log2": 140},
}


@pytest.mark.rejects("C-02")
@pytest.mark.parametrize("name", INVALID)
def test_invalid_parameters_are_refused(name):
    fields = {
        "ring_degree": DEGREE,
        "moduli": MODULI[:2],
        "special_modulus": SPECIAL,
        "input_scale_log2": 40,
    }
    CkksParameters(**fields)
    with pytest.raises(ParameterError):
        CkksParameters(**(fields | INVALID[name]))


@pytest.mark.accepts("C-02")
@pytest.mark.rejects("C-01")
def test_parameters_come_back_and_are_validated_when_parsed():
    parameters = CkksParameters(DEGREE, MODULI, SPECIAL, 136)
    assert CkksParameters.from_value(decode(encode(parameters.value()))) == parameters
    degree, moduli, special, scale = parameters.value()
    with pytest.raises(ParameterError):
        CkksParameters.from_value((degree, (*moduli, primes(60, DEGREE, 4)[3]), special, scale))
    for wrong in ((degree, moduli, special), (degree, 5, special, scale), (degree, moduli, 1.0, 2)):
        with pytest.raises(EncodingError):
            CkksParameters.from_value(wrong)
    assert parameters.slots == DEGREE // 2
    assert parameters.modulus == math.prod(MODULI)


@given(st.integers(0, 5000))
def test_small_primes(candidate):
    divisors = sum(candidate % d == 0 for d in range(1, candidate + 1))
    assert is_prime(candidate) == (divisors == 2)


def test_primes_that_fool_weaker_tests():
    carmichael = (561, 41041, 825265, 321197185, 3215031751, 3825123056546413051)
    assert not any(map(is_prime, carmichael))
    assert is_prime((1 << 61) - 1)
    assert not is_prime((1 << 64) + 13)  # a prime, but beyond what is claimed
    assert not is_prime(-7)


def test_code_lengths():
    for code in (LINEAR_CODE, QUADRATIC_CODE):
        k, length = code.row_degree, code.message_length
        assert k == length + code.opened_columns
        assert code.linear_length == k + length - 1
        assert code.product_length == 2 * k - 1
        assert code.quotient_length == code.product_length - length
    assert LINEAR_CODE.value() != QUADRATIC_CODE.value()


@pytest.mark.parametrize(
    "sizes",
    [
        (511, 125, 8192),
        (512, 0, 8192),
        (512, 125, 8191),
        (1024, 125, 2048),
        (0, 1, 8),
        (512, 125, 8192, 1),
        (512, 125, 8192, 3),
    ],
)
def test_codes_that_make_no_sense_are_refused(sizes):
    with pytest.raises(ParameterError):
        CodeParameters(*sizes)
