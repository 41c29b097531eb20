"""Public parameters: the CKKS ring and the Ligero code, validated on construction.

Symbols: N ring degree; q_l the prime of limb l; P the special prime SEAL asks for;
l message elements, t random elements and n code positions of a row, k = l + t.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from protocol.encoding import Value, expect_int, expect_tuple
from protocol.errors import ParameterError

PROTOCOL_VERSION = "blindproof/1"

MAX_MODULUS_BITS = {4096: 106, 8192: 214, 16384: 430, 32768: 868}
"""Largest log2(Q P) per ring degree at 128-bit security with a ternary secret
(docs/protocol.md, section 2; a little stricter than the homomorphic-encryption standard)."""

MIN_PRIME_BITS, MAX_PRIME_BITS = 60, 61
MIN_SPECIAL_BITS = 30
MAX_LIMBS = 16
MAX_IDENTITY = 200
"""Characters of a client's or a server's name."""
SECRET_BOUND = 1
FRESH_NOISE_BOUND = 21
"""SEAL samples fresh noise as 21 minus 21 coins, so no coefficient exceeds 21."""


class Packing(StrEnum):
    """How records sit in ciphertexts."""

    BATCH = "batch"
    SINGLE = "single"


class Mode(StrEnum):
    """Whether the weights are hidden behind a commitment or published."""

    PRIVATE = "private"
    PUBLIC = "public"


@dataclass(frozen=True)
class CkksParameters:
    """A CKKS parameter set inside the 128-bit table.

    Attributes:
        ring_degree: N, a power of two.
        moduli: data primes q_l = 1 mod 2N, distinct; the first is the commitment's modulus.
        special_modulus: the prime SEAL keeps for key switching; never carries data here.
        input_scale_log2: ciphertexts encode round(2^input_scale_log2 * x).
    """

    ring_degree: int
    moduli: tuple[int, ...]
    special_modulus: int
    input_scale_log2: int

    def __post_init__(self) -> None:
        degree = self.ring_degree
        require_words_sized(degree, self.special_modulus, self.input_scale_log2, *self.moduli)
        if degree not in MAX_MODULUS_BITS:
            raise ParameterError(
                f"ring degree {degree} is not supported; use one of {sorted(MAX_MODULUS_BITS)}"
            )
        require_data_primes(degree, self.moduli)
        require_ntt_prime(degree, self.special_modulus, MIN_SPECIAL_BITS)
        if self.special_modulus in self.moduli:
            raise ParameterError("the special modulus must differ from the data primes")
        bits = math.log2(math.prod((*self.moduli, self.special_modulus)))
        if bits > MAX_MODULUS_BITS[degree]:
            raise ParameterError(
                f"log2(QP) = {bits:.1f} exceeds {MAX_MODULUS_BITS[degree]}, the 128-bit limit at "
                f"N = {degree}: take fewer limbs or the next ring degree"
            )
        if not 10 <= self.input_scale_log2 <= 139:
            raise ParameterError(
                f"input scale 2^{self.input_scale_log2} is outside 2^10 .. 2^139, where the "
                "encoder is exact to double precision"
            )

    @property
    def modulus(self) -> int:
        """Q, the product of the data primes."""
        return math.prod(self.moduli)

    @property
    def slots(self) -> int:
        """Number of real values a ciphertext holds in batch packing: N / 2."""
        return self.ring_degree // 2

    def value(self) -> Value:
        """The canonical value that is hashed and stored."""
        return (self.ring_degree, self.moduli, self.special_modulus, self.input_scale_log2)

    @classmethod
    def from_value(cls, value: Value) -> CkksParameters:
        """Rebuild and validate from a decoded value."""
        degree, moduli, special, scale = expect_tuple(value, "CKKS parameters", 4)
        return cls(
            expect_int(degree, "ring degree"),
            tuple(expect_int(prime, "modulus") for prime in expect_tuple(moduli, "moduli")),
            expect_int(special, "special modulus"),
            expect_int(scale, "input scale"),
        )


def require_words_sized(*values: int) -> None:
    """Refuse integers beyond 64 bits before anything is computed from, or printed of, them.

    Raises:
        ParameterError: naming the number of bits.
    """
    longest = max(value.bit_length() for value in values)
    if longest > 64 or min(values) < 0:
        raise ParameterError(f"parameters are non-negative 64-bit integers, one has {longest} bits")


def require_ntt_prime(ring_degree: int, prime: int, min_bits: int) -> None:
    """Refuse anything but a prime of min_bits to 61 bits which is 1 mod 2N.

    Raises:
        ParameterError: saying which condition fails.
    """
    bits = prime.bit_length()
    if not min_bits <= bits <= MAX_PRIME_BITS:
        raise ParameterError(f"a modulus has {bits} bits, expected {min_bits} to {MAX_PRIME_BITS}")
    if prime % (2 * ring_degree) != 1 or not is_prime(prime):
        raise ParameterError(f"modulus {prime} is not a prime congruent 1 mod {2 * ring_degree}")


def require_data_primes(ring_degree: int, moduli: tuple[int, ...]) -> None:
    """Refuse a chain of data primes that is empty, too long, or has an unfit prime.

    Raises:
        ParameterError: saying which condition fails.
    """
    if not 1 <= len(moduli) <= MAX_LIMBS or len(set(moduli)) != len(moduli):
        raise ParameterError(f"moduli must be 1 to {MAX_LIMBS} distinct primes")
    for prime in moduli:
        require_ntt_prime(ring_degree, prime, MIN_PRIME_BITS)


_WITNESSES = (2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37)


def is_prime(candidate: int) -> bool:
    """Deterministic Miller-Rabin, exact below 2^64 (Sorenson and Webster 2015)."""
    if candidate < 2 or candidate >= 1 << 64:
        return False
    for base in _WITNESSES:
        if candidate % base == 0:
            return candidate == base
    odd, twos = candidate - 1, 0
    while odd % 2 == 0:
        odd, twos = odd // 2, twos + 1
    for base in _WITNESSES:
        x = pow(base, odd, candidate)
        if x in {1, candidate - 1}:
            continue
        for _ in range(twos - 1):
            x = x * x % candidate
            if x == candidate - 1:
                break
        else:
            return False
    return True


@dataclass(frozen=True)
class CodeParameters:
    """The interleaved Reed-Solomon code of one proof (docs/protocol.md, section 10).

    Attributes:
        message_length: l, committed elements per row, a power of two.
        opened_columns: t, columns opened, and random elements per row.
        codeword_length: n, a power of two.
        extension_degree: [E : F_q], the number of base-field vectors of each random combination.
    """

    message_length: int
    opened_columns: int
    codeword_length: int
    extension_degree: int = 2

    def __post_init__(self) -> None:
        for name, size in (("message", self.message_length), ("codeword", self.codeword_length)):
            if size < 2 or size & (size - 1):
                raise ParameterError(f"{name} length {size} is not a power of two")
        if self.opened_columns < 1 or 2 * self.row_degree - 1 > self.codeword_length // 2:
            raise ParameterError(
                f"code (l, t, n) = ({self.message_length}, {self.opened_columns}, "
                f"{self.codeword_length}): products of rows must fit half the codeword"
            )
        if self.extension_degree != 2:
            raise ParameterError("only quadratic extensions are supported")

    @property
    def row_degree(self) -> int:
        """k = l + t: row polynomials have degree < k."""
        return self.message_length + self.opened_columns

    @property
    def linear_length(self) -> int:
        """Coefficients of the linear test's polynomial: k + l - 1."""
        return self.row_degree + self.message_length - 1

    @property
    def product_length(self) -> int:
        """Coefficients of the quadratic test's polynomial: 2k - 1."""
        return 2 * self.row_degree - 1

    @property
    def quotient_length(self) -> int:
        """Coefficients of its quotient by X^l - 1: 2k - 1 - l."""
        return self.product_length - self.message_length

    def value(self) -> Value:
        """The canonical value that is hashed."""
        return (
            self.message_length,
            self.opened_columns,
            self.codeword_length,
            self.extension_degree,
        )


LINEAR_CODE = CodeParameters(message_length=512, opened_columns=124, codeword_length=8192)
"""Proofs without products: 101.6 bits of column soundness."""

QUADRATIC_CODE = CodeParameters(message_length=512, opened_columns=127, codeword_length=8192)
"""Proofs with products: 101.5 bits of column soundness."""

NETWORK_CODE = CodeParameters(message_length=512, opened_columns=112, codeword_length=16384)
"""Proofs of networks: 101.7 bits of column soundness.  Longer codewords than for linear models:
fewer columns are opened, which counts when there are many rows."""
