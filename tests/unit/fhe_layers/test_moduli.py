from __future__ import annotations

import math

import pytest
import tenseal.sealapi as seal

from fhe_layers.moduli import modulus_bits, modulus_chain, ntt_primes
from protocol.errors import ParameterError
from protocol.parameters import MAX_MODULUS_BITS, CkksParameters, is_prime


@pytest.mark.parametrize("degree", [4096, 8192, 16384])
@pytest.mark.parametrize(("bits", "count"), [(60, 3), (58, 2), (34, 1), (40, 5)])
def test_the_primes_are_those_seal_would_create(degree: int, bits: int, count: int) -> None:
    created = {prime.value() for prime in seal.CoeffModulus.Create(degree, [bits] * count)}
    assert set(ntt_primes(degree, bits, count)) == created


def test_primes_are_ntt_friendly_descending_and_of_the_length_asked_for() -> None:
    primes = ntt_primes(8192, 60, 6)
    assert list(primes) == sorted(primes, reverse=True)
    assert all(is_prime(p) and p % 16384 == 1 and p.bit_length() == 60 for p in primes)
    assert ntt_primes(8192, 60, 2) == primes[:2]


def test_no_larger_prime_was_passed_over() -> None:
    largest = ntt_primes(8192, 34, 1)[0]
    above = range(largest + 16384, 1 << 34, 16384)
    assert not any(is_prime(candidate) for candidate in above)


def test_chains_share_their_first_limbs_and_single_takes_q2_as_special() -> None:
    batch, batch_special = modulus_chain(8192, 3)
    single, single_special = modulus_chain(8192, 2)
    assert batch[:2] == single
    assert single_special == batch[2]
    assert batch_special.bit_length() == 34


@pytest.mark.parametrize("degree", sorted(MAX_MODULUS_BITS))
def test_every_chain_is_inside_the_table_and_the_longest_cannot_grow(degree: int) -> None:
    limbs = 1
    while True:
        try:
            moduli, special = modulus_chain(degree, limbs)
        except ParameterError:
            break
        CkksParameters(degree, moduli, special, 40)
        assert modulus_bits((*moduli, special)) <= MAX_MODULUS_BITS[degree]
        limbs += 1
    assert limbs * 60 + 30 > MAX_MODULUS_BITS[degree]


def test_modulus_bits_is_the_logarithm_of_the_product() -> None:
    assert math.isclose(modulus_bits((1 << 20, 1 << 30)), 50.0)


@pytest.mark.parametrize(
    ("degree", "bits", "count"), [(3, 60, 1), (0, 60, 1), (8192, 29, 1), (8192, 62, 1)]
)
def test_unsupported_primes_are_refused(degree: int, bits: int, count: int) -> None:
    with pytest.raises(ParameterError):
        ntt_primes(degree, bits, count)


def test_too_few_primes_is_an_error_that_says_how_many_there_are() -> None:
    with pytest.raises(ParameterError, match=r"only [0-9]+ exist"):
        ntt_primes(32768, 30, 5000)


@pytest.mark.parametrize(("degree", "limbs"), [(2048, 1), (8192, 0), (8192, 4), (4096, 2)])
def test_chains_outside_the_table_are_refused(degree: int, limbs: int) -> None:
    with pytest.raises(ParameterError):
        modulus_chain(degree, limbs)
