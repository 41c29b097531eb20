"""Families of short integers and the masks that hide their projections.

A family is a list of integers x that a proof shows to be short modulo Q.  The prover commits to
masks y, the verifier draws vectors r, the prover sends U_s = <r_s, x> + y_s as integers and
starts again unless every |U_s| <= M - B' (docs/protocol.md, section 7):

    binary   128 vectors r in {0,1}^n.  Any x with |x_k mod Q| > 2 (M - B') is caught with
             probability at least 1 - 2^-128.  The bound that is proved has slack.
    integer  4 vectors of signed 32-bit integers.  Only for values which are exact in limb 0
             already: ties them to the other limbs, each vector missing with probability 2^-32,
             no slack.

B' bounds |<r, x>| of an honest prover (10 standard deviations, plus the mean of what is not
centred), M bounds the masks; U is then uniform in [-(M-B'), M-B'] whatever x is.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum

from protocol.encoding import Value
from protocol.errors import ParameterError

BINARY_PROJECTIONS = 128
INTEGER_PROJECTIONS = 4
INTEGER_BITS = 32
DEVIATIONS = 10
FLOODING_MASK_LOG2 = 10
SMALL_MASK_LOG2 = 14

TERNARY_MOMENT = 2 / 3
FRESH_NOISE_MOMENT = 10.5

COMMITMENT_DEGREE = 1024
OPENING_POLYNOMIALS = 5
OPENING_SIZE = OPENING_POLYNOMIALS * COMMITMENT_DEGREE
"""The commitment's randomness r_h: five ternary polynomials of degree < 1024."""

MAX_INTEGERS = 16_384
"""Integers of one model.  Beyond, two openings of one request would be long enough for Module-SIS
to fall below 128 bits (tests/reference/lattice_estimate.py)."""

WEIGHT_BITS = 15
WEIGHT_BOUND = (1 << WEIGHT_BITS) - 1
"""Committed integers (weights and biases) are at most 2^15 - 1 in magnitude."""

PUBLIC_NOISE_BITS = 5
PUBLIC_NOISE_BOUND = 1 << (PUBLIC_NOISE_BITS - 1)
"""The error of an enrolled key lies in [-16, 15], exactly."""


class FamilyKind(StrEnum):
    """The distribution of the projection vectors."""

    BINARY = "binary"
    INTEGER = "integer"


@dataclass(frozen=True)
class Family:
    """One family of short integers.

    Attributes:
        name: unique within a relation.
        size: number of integers.
        limbs: indices of the limbs in which the projections are constrained.
        kind: distribution of the projection vectors.
        honest_bound: B'.
        mask_bound: M.
    """

    name: str
    size: int
    limbs: tuple[int, ...]
    kind: FamilyKind
    honest_bound: int
    mask_bound: int

    @property
    def projections(self) -> int:
        """Number of projection vectors, S."""
        return BINARY_PROJECTIONS if self.kind is FamilyKind.BINARY else INTEGER_PROJECTIONS

    @property
    def interval(self) -> int:
        """M - B', the largest magnitude of a projection the verifier accepts."""
        return self.mask_bound - self.honest_bound

    @property
    def proved_bound(self) -> int:
        """2 (M - B'): a binary family's members are proved to be at most this, mod Q."""
        return 2 * self.interval

    @property
    def encoded_bytes(self) -> int:
        """Bytes of one projection in a proof: fixed width, two's complement."""
        return (self.interval.bit_length() + 8) // 8

    def value(self) -> Value:
        """The canonical value that is hashed."""
        return (
            self.name,
            self.size,
            self.limbs,
            str(self.kind),
            self.projections,
            self.honest_bound,
            self.mask_bound,
        )


def _deviation_bound(second_moments: float) -> int:
    """Ten standard deviations of <r, x>, r binary: E <r, x>^2 = (sum of E x^2) / 2."""
    return math.ceil(DEVIATIONS * math.sqrt(second_moments / 2))


def flooding_family(size: int, flooding_log2: int, limbs: tuple[int, ...]) -> Family:
    """The flooding noise e_0 of a batch: uniform in [-2^f, 2^f), `size` coefficients."""
    bound = _deviation_bound(size * 4.0**flooding_log2 / 3)
    mask = bound << FLOODING_MASK_LOG2
    return Family("flooding", size, limbs, FamilyKind.BINARY, bound, mask)


def small_family(ternary: int, noise: int, limbs: tuple[int, ...]) -> Family:
    """The sanitiser's u (ternary) and its small errors, in this order."""
    bound = _deviation_bound(ternary * TERNARY_MOMENT + noise * FRESH_NOISE_MOMENT)
    size = ternary + noise
    return Family("small", size, limbs, FamilyKind.BINARY, bound, bound << SMALL_MASK_LOG2)


def error_family(
    power: int, size: int, *, flooding_log2: int, dropped_modulus: int, limbs: tuple[int, ...]
) -> Family:
    """The noise which a network's sanitiser adds to the coefficient of S^power of its outputs.

    Members are integers modulo the full Q, `size` = J N of them.  With P the product of the limbs
    dropped by the rescaling, a member is P e + r: e is the noise in kept units (power 0: flooding,
    uniform in [-2^f, 2^f); else as small as fresh noise), r the rounding, |r| <= P / 2.

    The rounding is a function of the client's ciphertexts, so nothing is assumed of it: at worst
    every r is P / 2, <r, x> has a mean of size P / 4, and only which of them count is random
    (second moments P^2 / 8, in the convention of `_deviation_bound`).

    A network has t such families, every one of which can make an attempt start again, and scale to
    spare: all masks are 2^14 B', the flooding's too (one attempt in twenty-five starts again).
    """
    moment = 4.0**flooding_log2 / 3 if power == 0 else FRESH_NOISE_MOMENT
    if dropped_modulus > 1:
        bound = math.ceil(size / 4) + _deviation_bound(size * (moment + 1 / 8))
    else:
        bound = _deviation_bound(size * moment)
    return Family(
        "flooding" if power == 0 else f"error {power}",
        size,
        limbs,
        FamilyKind.BINARY,
        bound * dropped_modulus,
        (bound * dropped_modulus) << SMALL_MASK_LOG2,
    )


def randomiser_family(ring_degree: int, limbs: tuple[int, ...]) -> Family:
    """The ternary u of one response of a network, in the kept limbs."""
    bound = _deviation_bound(ring_degree * TERNARY_MOMENT)
    return Family("u", ring_degree, limbs, FamilyKind.BINARY, bound, bound << SMALL_MASK_LOG2)


def network_families(
    *,
    outputs: int,
    polys: int,
    integers: int,
    ring_degree: int,
    moduli: tuple[int, ...],
    flooding_log2: int,
    dropped_limbs: int,
) -> tuple[Family, ...]:
    """Families of a private network: flooding, error 1 .. error t-1, u, weights, opening.

    Raises:
        ParameterError: a mask does not fit the modulus of the limbs its family lives in, so that
            short modulo it would say nothing.
    """
    every, kept = tuple(range(len(moduli))), tuple(range(len(moduli) - dropped_limbs))
    errors = tuple(
        error_family(
            power,
            outputs * ring_degree,
            flooding_log2=flooding_log2,
            dropped_modulus=math.prod(moduli[len(kept) :]),
            limbs=every,
        )
        for power in range(polys)
    )
    families = (
        *errors,
        randomiser_family(ring_degree, kept),
        weights_family(integers, every),
        opening_family(),
    )
    for family in families:
        if 4 * family.mask_bound >= math.prod(moduli[limb] for limb in family.limbs):
            raise ParameterError(
                f"the family '{family.name}' has masks of {family.mask_bound.bit_length()} bits, "
                "too long for its limbs: take less flooding or more limbs"
            )
    return families


def weights_family(count: int, limbs: tuple[int, ...]) -> Family:
    """The model's integers.  Not centred, so the bound is the worst case, count * 2^15."""
    bound = count * (WEIGHT_BOUND + 1)
    return Family("weights", count, limbs, FamilyKind.BINARY, bound, bound << SMALL_MASK_LOG2)


def opening_family() -> Family:
    """The commitment's randomness, limb 0 only."""
    bound = _deviation_bound(OPENING_SIZE * TERNARY_MOMENT)
    return Family("opening", OPENING_SIZE, (0,), FamilyKind.BINARY, bound, bound << SMALL_MASK_LOG2)


def _tie(name: str, size: int, bound: int, value_bound: int, moduli: tuple[int, ...]) -> Family:
    """An integer family tying values that are exact in limb 0 to every limb.

    Raises:
        ParameterError: unless 2 (M - B') + 2^32 max|x| < q_0 and every q_l > 2^32.
    """
    mask = 1 << (moduli[0].bit_length() - 3)
    limbs = tuple(range(len(moduli)))
    family = Family(name, size, limbs, FamilyKind.INTEGER, bound, mask)
    reach = family.proved_bound + (value_bound << INTEGER_BITS)
    if bound << 8 > mask or reach >= moduli[0] or min(moduli) >> INTEGER_BITS == 0:
        raise ParameterError(f"the tie of {size} values '{name}' does not fit limb 0")
    return family


def flooding_bits_family(outputs: int, flooding_log2: int, moduli: tuple[int, ...]) -> Family:
    """The bits of the exact flooding of single-record outputs, f + 1 bits an output."""
    size = outputs * (flooding_log2 + 1)
    return _tie("flooding bits", size, size << (INTEGER_BITS - 1), 1, moduli)


def enrolment_family(ring_degree: int, keys: int, moduli: tuple[int, ...]) -> Family:
    """The secret key s and the errors of `keys` enrolled public keys."""
    moments = ring_degree * (TERNARY_MOMENT + keys * FRESH_NOISE_MOMENT)
    bound = math.ceil(DEVIATIONS * math.sqrt(moments * 4.0 ** (INTEGER_BITS - 1) / 3))
    return _tie("key", (1 + keys) * ring_degree, bound, PUBLIC_NOISE_BOUND, moduli)
