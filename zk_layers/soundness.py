"""Soundness of a proof, term by term, without any conjecture (docs/protocol.md, section 10).

A cheating prover must win at least one of these, each bounded in the random-oracle model:

    columns      the opened columns all miss what is wrong (exact, hypergeometric)
    proximity    a random combination is closer to the code than its rows: n / |E| per limb
                 (unique decoding radius)
    linear       a random combination of linear constraints hides a broken one: 1 / |E| per limb
    quadratic    the same for products: 1 / |E| per limb with products
    <family>     all projections of a long member are short: 2^-128 per family
    fold         the folded equations U_s = <r_s, x> + y_s hide a broken one: 1 / |E| per family
                 and limb

The error of the whole is at most their sum.  Collision resistance of SHA-256 and Module-SIS for
the commitment are assumptions beside it.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

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
    """-log2 of the column tests' error, at the best radius e of the analysis.

    If some row combination is e-far from the code the proximity test misses it with the first
    chance; else rows decode uniquely, and a wrong test polynomial of degree d agrees with the right
    one on at most d + e positions.
    """
    degree = (code.product_length if quadratic else code.linear_length) - 1
    length, opened = code.codeword_length, code.opened_columns
    # falling[m] = log2 of m (m - 1) ... (m - t + 1), the ways to open t columns among m
    logs = np.concatenate([[0.0], np.cumsum(np.log2(np.arange(1, length + 1)))])
    falling = np.full(length + 1, -np.inf)
    falling[opened:] = logs[opened:] - logs[: length + 1 - opened]
    radius = np.arange(1, (length - code.row_degree) // 2 + 1)
    far = falling[length - radius] - falling[length]
    wrong = falling[np.minimum(length, radius + degree)] - falling[length]
    return float(-np.logaddexp2(far, wrong).min())


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
        "proximity": -_log2_sum([math.log2(code.codeword_length) - field_bits[i] for i in limbs]),
        "linear": -_log2_sum([-field_bits[i] for i in limbs]),
    }
    if quadratic:
        terms["quadratic"] = -_log2_sum([-field_bits[i] for i in quadratic])
    folds = [-field_bits[limb] for family in relation.families for limb in family.limbs]
    if folds:
        terms["fold"] = -_log2_sum(folds)
    for family in relation.families:
        exponent = 1 if family.kind is FamilyKind.BINARY else INTEGER_BITS
        terms[family.name] = float(family.projections * exponent)
    return SoundnessReport(-_log2_sum([-bits for bits in terms.values()]), terms)


def require_soundness(relation: Relation) -> SoundnessReport:
    """The report, refused below 100 bits.

    Raises:
        VerificationError: when the parameters do not reach REQUIRED_BITS.
    """
    report = soundness(relation)
    detail = f"{report.bits:.1f} bits of soundness, {REQUIRED_BITS:.0f} required"
    require(report.bits >= REQUIRED_BITS, Check.SOUNDNESS, detail)
    return report
