"""Soundness of a proof, term by term, without any conjecture (docs/protocol.md, section 10).

A cheating prover must win at least one of these, each bounded in the random-oracle model:

    columns      the opened columns all miss what is wrong (exact, hypergeometric, `column_bits`)
    proximity    a random combination is closer to the code than its rows, at most n / |E| within
                 the unique decoding radius (Ben-Sasson, Carmon, Ishai, Kopparty, Saraf 2020), or
                 right at a bad position, at most n / (2 |E|): together below 2 n / |E| per limb
    linear       a random combination of constraints hides a broken one, or meets the one defect
                 value that the blinding was made for: 2 / |E| per limb
    quadratic    the same for products: 2 / |E| per limb with products
    <family>     all projections of a long member are short: 2^-128 per family
    sigma        a polynomial identity in S holds at sigma only: degree / |E| per limb; a network's
                 projections are folded by powers of sigma, so that the projections' combination
                 counts here once more
    sum-checks   a round polynomial is wrong and agrees at the challenge: degree / |E| per round
    multiplications  a product of pads is wrong: 2 / |E| each
    constraints  a random combination of the reductions' equations hides a broken one: 1 / |E|
    fold         the folded equations U_s = <r_s, x> + y_s hide a broken one: 1 / |E| per family
                 and limb

The error of the whole is at most their sum.  Collision resistance of SHA-256 and Module-SIS for
the commitment are assumptions beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

from protocol.families import INTEGER_BITS, FamilyKind
from protocol.parameters import CodeParameters
from zk_layers.checks import Check, require
from zk_layers.relation import Relation

REQUIRED_BITS = 100.0


@dataclass(frozen=True)
class SoundnessReport:
    """What a verified proof is worth.

    Attributes:
        bits: -log2 of the sum of all terms.
        terms: -log2 of each term.
    """

    bits: float
    terms: dict[str, float]


@lru_cache(maxsize=32)
def column_bits(code: CodeParameters, quadratic: bool) -> float:
    """-log2 of the chance that t opened columns all miss what is wrong: the largest of three cases.

    Let e = (n - k) / 2 and d the degree bound of the linear (or quadratic) test's polynomial.

    far     rows and blinding have no common codewords within e: the random combination is then more
            than e from the code (but for the term `proximity`), and agrees with the sent polynomial
            of degree < k on at most n - e - 1 positions
    close   there are unique codewords, equal to the rows outside a bad set of at most e positions;
            a wrong proximity polynomial agrees on k - 1 good positions and the bad ones
    defect  the right one fails on every bad position (again but for `proximity`); on good positions
            the test's polynomial must equal the committed blinding word plus a known polynomial.
            For two challenges with different defects these agree on at most d positions, so that
            all but one defect value leave at most (n + d) / 2 positions
    """
    degree = (code.product_length if quadratic else code.linear_length) - 1
    length, opened = code.codeword_length, code.opened_columns
    radius = (length - code.row_degree) // 2
    far = length - radius - 1
    close = code.row_degree - 1 + radius
    defect = (length + degree) // 2
    return -max(_all_within_log2(length, fitting, opened) for fitting in (far, close, defect))


def _all_within_log2(length: int, fitting: int, opened: int) -> float:
    """log2 of C(fitting, opened) / C(length, opened): all distinct positions are fitting ones."""
    if fitting < opened:
        return -math.inf
    return sum(math.log2((fitting - i) / (length - i)) for i in range(opened))


def _log2_sum(logs: list[float]) -> float:
    top = max(logs)
    return top + math.log2(sum(2.0 ** (value - top) for value in logs))


def soundness(relation: Relation) -> SoundnessReport:
    """Compute the report from the relation's public parameters alone."""
    code = relation.code
    limbs = range(len(relation.moduli))
    field_bits = [code.extension_degree * math.log2(modulus) for modulus in relation.moduli]
    quadratic = [limb for limb in limbs if relation.products(limb)]
    terms = {
        "columns": column_bits(code, bool(quadratic)),
        "proximity": -_log2_sum(
            [math.log2(2 * code.codeword_length) - field_bits[i] for i in limbs]
        ),
        "linear": -_log2_sum([1 - field_bits[i] for i in limbs]),
    }
    if quadratic:
        terms["quadratic"] = -_log2_sum([1 - field_bits[i] for i in quadratic])
    terms |= extension_terms(relation.reduction_terms(), relation.moduli)
    folds = [-field_bits[limb] for family in relation.families for limb in family.limbs]
    if folds:
        terms["fold"] = -_log2_sum(folds)
    for family in relation.families:
        exponent = 1 if family.kind is FamilyKind.BINARY else INTEGER_BITS
        terms[family.name] = float(family.projections * exponent)
    return SoundnessReport(-_log2_sum([-bits for bits in terms.values()]), terms)


def extension_terms(numerators: dict[str, int], moduli: tuple[int, ...]) -> dict[str, float]:
    """Bits of terms numerator / |E|, summed over the limbs; a numerator of 0 has no term."""
    return {
        name: -_log2_sum([math.log2(numerator) - 2 * math.log2(modulus) for modulus in moduli])
        for name, numerator in numerators.items()
        if numerator
    }


def report_of(terms: dict[str, float]) -> SoundnessReport:
    """The sum of the terms, refused below 100 bits.

    Raises:
        VerificationError: when the parameters do not reach REQUIRED_BITS.
    """
    report = SoundnessReport(-_log2_sum([-bits for bits in terms.values()]), terms)
    detail = f"{report.bits:.1f} bits of soundness, {REQUIRED_BITS:.0f} required"
    require(report.bits >= REQUIRED_BITS, Check.SOUNDNESS, detail)
    return report


def require_soundness(relation: Relation) -> SoundnessReport:
    """The report of a relation, refused below 100 bits.

    Raises:
        VerificationError: when the parameters do not reach REQUIRED_BITS.
    """
    return report_of(soundness(relation).terms)
