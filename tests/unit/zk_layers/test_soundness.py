from __future__ import annotations

import math
from fractions import Fraction

import pytest

from protocol.errors import VerificationError
from protocol.keys import KeyRequest
from protocol.parameters import LINEAR_CODE, QUADRATIC_CODE, CodeParameters
from tests.adversarial.scenario import (
    DEGREE,
    MODULI,
    make_batch,
    make_card,
    make_single,
    random_model,
)
from zk_layers.checks import Check
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.layers.linear import SingleLinearRelation
from zk_layers.registration import RegistrationRelation
from zk_layers.soundness import REQUIRED_BITS, column_bits, require_soundness, soundness


def chance(inside: int, code: CodeParameters) -> Fraction:
    """Probability that all t distinct positions fall into a set of so many."""
    t, n = code.opened_columns, code.codeword_length
    return Fraction(math.comb(inside, t), math.comb(n, t))


def exact_columns(code: CodeParameters, *, quadratic: bool) -> Fraction:
    """The largest of the three ways to miss what is wrong, in exact arithmetic."""
    degree = (code.product_length if quadratic else code.linear_length) - 1
    length, k = code.codeword_length, code.row_degree
    radius = (length - k) // 2
    return max(
        chance(length - radius - 1, code),
        chance(k - 1 + radius, code),
        chance((length + degree) // 2, code),
    )


SMALL_CODES = [
    CodeParameters(8, 3, 64),
    CodeParameters(16, 10, 256),
    CodeParameters(4, 30, 512),
    CodeParameters(64, 20, 512),
]


@pytest.mark.parametrize("quadratic", [False, True])
@pytest.mark.parametrize("code", SMALL_CODES)
def test_column_bits_are_the_exact_hypergeometric_ones(code, quadratic):
    exact = exact_columns(code, quadratic=quadratic)
    assert column_bits(code, quadratic) == pytest.approx(-math.log2(exact), abs=1e-9)


@pytest.mark.parametrize(
    ("code", "quadratic", "documented"),
    [(LINEAR_CODE, False, 101.6), (QUADRATIC_CODE, True, 101.5)],
)
def test_column_bits_of_the_codes_in_use(code, quadratic, documented):
    exact = exact_columns(code, quadratic=quadratic)
    assert column_bits(code, quadratic) == pytest.approx(-math.log2(exact), abs=1e-9)
    assert column_bits(code, quadratic) == pytest.approx(documented, abs=0.06)


@pytest.mark.parametrize(("code", "quadratic"), [(LINEAR_CODE, False), (QUADRATIC_CODE, True)])
def test_blinding_rows_that_are_no_codewords_do_not_beat_the_bound(code, quadratic):
    """Blinding rows of the linear and quadratic tests are in no proximity test.

    The best a prover can do with such a row is to agree with two polynomials of different defects
    on half of the positions each, and on the d positions where these two meet.
    """
    degree = (code.product_length if quadratic else code.linear_length) - 1
    each = (code.codeword_length - degree) // 2 + degree
    assert -math.log2(chance(each, code)) >= column_bits(code, quadratic) - 1e-9


def relations():
    integers, opening = random_model(1, 2, 2)
    return {
        "batch": make_batch().relation,
        "two outputs": make_batch(outputs=2).relation,
        "single": make_single().relation,
        "registration": RegistrationRelation(make_card(integers, opening)),
        "enrolment": EnrolmentRelation(KeyRequest("c", "s", DEGREE, MODULI, 2)),
    }


@pytest.mark.accepts("C-36")
@pytest.mark.parametrize("name", ["batch", "two outputs", "single", "registration", "enrolment"])
def test_reports_add_up_and_reach_the_required_bits(name):
    relation = relations()[name]
    report = require_soundness(relation)
    assert report.bits >= REQUIRED_BITS
    total = math.fsum(2.0**-bits for bits in report.terms.values())
    assert report.bits == pytest.approx(-math.log2(total), abs=1e-9)
    fields = [2 * math.log2(q) for q in relation.moduli]
    length = relation.code.codeword_length
    proximity = math.fsum(2 * length * 2.0**-bits for bits in fields)
    assert report.terms["proximity"] == pytest.approx(-math.log2(proximity), abs=1e-9)
    linear = math.fsum(2 * 2.0**-bits for bits in fields)
    assert report.terms["linear"] == pytest.approx(-math.log2(linear), abs=1e-9)
    assert ("quadratic" in report.terms) == any(
        relation.products(limb) for limb in range(len(relation.moduli))
    )
    for family in relation.families:
        assert report.terms[family.name] == 128
    if relation.families:
        folds = math.fsum(2.0 ** -fields[limb] for f in relation.families for limb in f.limbs)
        assert report.terms["fold"] == pytest.approx(-math.log2(folds), abs=1e-9)


@pytest.mark.rejects("C-36")
@pytest.mark.parametrize("opened", [1, 60, 120])
def test_codes_that_open_too_few_columns_are_refused(opened):
    class Weaker(SingleLinearRelation):
        code = CodeParameters(512, opened, 8192)

    single = make_single()
    relation = Weaker(single.request, single.inputs, single.key, single.mask, single.body)
    with pytest.raises(VerificationError) as refused:
        require_soundness(relation)
    assert refused.value.check == Check.SOUNDNESS
    assert soundness(relation).bits < REQUIRED_BITS
