"""The coefficient modulus: NTT-friendly primes, chosen by rule.

Symbols: N ring degree; Q = q_0 ... q_{L-1} the data primes (limbs); P the special prime SEAL
reserves for key switching. Every prime is 1 mod 2N, so that X^N + 1 splits and the negacyclic NTT
exists.

Primes of one bit length are taken in descending order, so (N, L) alone determines the chain: two
parties that agree on it agree on every word, and all chains of one ring share their first limbs.
Batch packing at N = 8192 uses (q0, q1, q2) with a 34-bit special prime; single-record packing uses
(q0, q1) with q2 as special prime, under the same ternary secret. One model commitment, which lives
over q0, serves both.
"""

from __future__ import annotations

import math
from functools import cache

from protocol.errors import ParameterError
from protocol.parameters import MAX_MODULUS_BITS, MAX_PRIME_BITS, MIN_SPECIAL_BITS, is_prime

LIMB_BITS = 60


@cache
def ntt_primes(ring_degree: int, bits: int, count: int) -> tuple[int, ...]:
    """The `count` largest primes of exactly `bits` bits that are 1 mod 2 * ring_degree, descending.

    Raises:
        ParameterError: no power of two, an unsupported length, or too few primes.
    """
    if ring_degree < 2 or ring_degree & (ring_degree - 1):
        raise ParameterError(f"ring degree must be a power of two, found {ring_degree}")
    if not MIN_SPECIAL_BITS <= bits <= MAX_PRIME_BITS:
        raise ParameterError(
            f"prime length must be {MIN_SPECIAL_BITS} to {MAX_PRIME_BITS} bits, found {bits}"
        )
    step = 2 * ring_degree
    candidate = (1 << bits) + 1 - step if (1 << bits) % step == 0 else 1
    found: list[int] = []
    while len(found) < count:
        if candidate < 1 << (bits - 1):
            raise ParameterError(
                f"{count} primes of {bits} bits that are 1 mod {step} were asked for, "
                f"only {len(found)} exist"
            )
        if is_prime(candidate):
            found.append(candidate)
        candidate -= step
    return tuple(found)


def modulus_chain(
    ring_degree: int, limbs: int, limb_bits: int = LIMB_BITS
) -> tuple[tuple[int, ...], int]:
    """Data primes and special prime: `limbs` primes of one length and the longest secure P.

    Raises:
        ParameterError: no special prime of a supported length fits beside that many limbs.
    """
    if ring_degree not in MAX_MODULUS_BITS:
        raise ParameterError(
            f"ring degree {ring_degree} is not supported; use one of {sorted(MAX_MODULUS_BITS)}"
        )
    if limbs < 1:
        raise ParameterError(f"a modulus needs at least one limb, found {limbs}")
    room = MAX_MODULUS_BITS[ring_degree] - limbs * limb_bits
    if room < MIN_SPECIAL_BITS:
        raise ParameterError(
            f"{limbs} limbs of {limb_bits} bits leave no room for a special prime inside "
            f"{MAX_MODULUS_BITS[ring_degree]} bits at N = {ring_degree}"
        )
    primes = ntt_primes(ring_degree, limb_bits, limbs + 1)
    if room >= limb_bits:
        return primes[:limbs], primes[limbs]
    return primes[:limbs], ntt_primes(ring_degree, room, 1)[0]


def modulus_bits(moduli: tuple[int, ...]) -> float:
    """log2 of the product of the moduli."""
    return math.log2(math.prod(moduli))
