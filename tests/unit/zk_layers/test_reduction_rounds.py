"""Sum-checks against their definition: all sums over a small cube, in Python integers."""

from __future__ import annotations

import io
from itertools import product

import numpy as np
import pytest

from tests.adversarial.scenario import MODULI
from zk_layers.extension import ONE, ZERO, Element, element, scalars
from zk_layers.reduction.exchange import Reading, Speaking
from zk_layers.reduction.forms import Algebra, Form
from zk_layers.reduction.rounds import rounds_of, run_rounds
from zk_layers.transcript import Transcript

LIMBS = MODULI[:2]
VARIABLES = 3
S = [scalars(modulus) for modulus in LIMBS]
Table = list[Element]


def tables(seed: int, factors: int) -> list[list[Table]]:
    """Per limb, per factor, values on the cube."""
    rng = np.random.default_rng(seed)
    return [
        [
            [element(pair) for pair in rng.integers(0, q, (1 << VARIABLES, 2), dtype=np.uint64)]
            for _ in range(factors)
        ]
        for q in LIMBS
    ]


def multilinear(limb: int, table: Table, point: list[Element]) -> Element:
    """sum over the cube of eq(point, b) table[b], the first variable the most significant bit."""
    total = ZERO
    for index, bits in enumerate(product((0, 1), repeat=len(point))):
        weight = ONE
        for bit, x in zip(bits, point, strict=True):
            weight = S[limb].mul(weight, x if bit else S[limb].sub(ONE, x))
        total = S[limb].add(total, S[limb].mul(weight, table[index]))
    return total


class ProductState:
    """The round polynomials of a product of factors, by summing."""

    def __init__(self, values: list[list[Table]]) -> None:
        self.values = values

    def message(self) -> np.ndarray:
        degree = len(self.values[0])
        out = np.empty((len(LIMBS), degree, 2), dtype=np.uint64)
        for limb, factors in enumerate(self.values):
            half = len(factors[0]) // 2
            for position, t in enumerate((0, *range(2, degree + 1))):
                total = ZERO
                for low in range(half):
                    term = ONE
                    for table in factors:
                        step = S[limb].sub(table[low + half], table[low])
                        term = S[limb].mul(term, S[limb].add(table[low], S[limb].scale(step, t)))
                    total = S[limb].add(total, term)
                out[limb, position] = total
        return out

    def bind(self, x: np.ndarray) -> None:
        for limb, factors in enumerate(self.values):
            half = len(factors[0]) // 2
            for i, table in enumerate(factors):
                factors[i] = [
                    S[limb].add(
                        table[low],
                        S[limb].mul(element(x[limb]), S[limb].sub(table[low + half], table[low])),
                    )
                    for low in range(half)
                ]


def sums(values: list[list[Table]]) -> list[Element]:
    found = []
    for limb, factors in enumerate(values):
        total = ZERO
        for index in range(1 << VARIABLES):
            term = ONE
            for table in factors:
                term = S[limb].mul(term, table[index])
            total = S[limb].add(total, term)
        found.append(total)
    return found


def ends(values: list[list[Table]], points: list[list[Element]]) -> list[Element]:
    found = []
    for limb, factors in enumerate(values):
        term = ONE
        for table in factors:
            term = S[limb].mul(term, multilinear(limb, table, points[limb]))
        found.append(term)
    return found


ALGEBRAS = [Algebra(elements) for elements in S]


@pytest.mark.parametrize("factors", [2, 3, 4, 5])
def test_an_honest_sum_check_ends_in_the_value_at_its_point(factors):
    values = tables(factors, factors)
    claims = [Form(total) for total in sums(values)]
    pads = [(None,) * factors] * VARIABLES
    state = ProductState([[list(table) for table in limb] for limb in values])
    speaking = Speaking(Transcript("sum"), LIMBS)
    points, found = run_rounds(speaking, "x", pads, claims, algebras=ALGEBRAS, state=state)
    assert [form.constant for form in found] == ends(values, points)
    stream = io.BytesIO(b"".join(speaking.sent))
    reading = Reading(Transcript("sum"), LIMBS, stream.read)
    again = run_rounds(reading, "x", pads, claims, algebras=ALGEBRAS, state=None)
    assert again[0] == points
    assert [form.constant for form in again[1]] == ends(values, points)
    assert stream.read() == b""


@pytest.mark.parametrize("factors", [2, 3])
def test_a_padded_sum_check_says_the_same_under_its_pads(factors):
    values = tables(9, factors)
    rng = np.random.default_rng(2)
    count = VARIABLES * factors
    pads = [rng.integers(0, q, (count, 2), dtype=np.uint64) for q in LIMBS]
    indices = [tuple(range(i * factors, (i + 1) * factors)) for i in range(VARIABLES)]
    state = ProductState([[list(table) for table in limb] for limb in values])
    speaking = Speaking(Transcript("sum"), LIMBS, pads)
    claims = [Form(total) for total in sums(values)]
    points, found = run_rounds(speaking, "x", indices, claims, algebras=ALGEBRAS, state=state)
    for limb, form in enumerate(found):
        assert set(form.pads) == set(range(count))
        total = form.constant
        for index, coefficient in form.pads.items():
            total = S[limb].add(total, S[limb].mul(coefficient, element(pads[limb][index])))
        assert total == ends(values, points)[limb]


def test_a_wrong_claim_ends_in_a_wrong_value():
    values = tables(4, 3)
    claims = [Form(S[i].add(total, ONE)) for i, total in enumerate(sums(values))]
    state = ProductState([[list(table) for table in limb] for limb in values])
    speaking = Speaking(Transcript("sum"), LIMBS)
    points, found = run_rounds(
        speaking, "x", [(None,) * 3] * VARIABLES, claims, algebras=ALGEBRAS, state=state
    )
    for limb, value in enumerate(ends(values, points)):
        assert found[limb].constant != value


def test_no_rounds_leave_the_claim():
    claims = [Form((5, 6)), Form((7, 8))]
    speaking = Speaking(Transcript("sum"), LIMBS)
    points, found = run_rounds(speaking, "x", [], claims, algebras=ALGEBRAS, state=None)
    assert points == [[], []]
    assert [form.constant for form in found] == [(5, 6), (7, 8)]
    assert speaking.sent == []


@pytest.mark.parametrize(("size", "rounds"), [(1, 0), (2, 1), (3, 2), (4, 2), (5, 3), (8192, 13)])
def test_rounds_of_a_size(size, rounds):
    assert rounds_of(size) == rounds


def test_a_reader_refuses_nothing_but_what_is_not_canonical():
    words = np.array([[[LIMBS[0] - 1, 0]], [[LIMBS[1] - 1, 0]]], dtype="<u8")
    stream = io.BytesIO(words.tobytes())
    said = Reading(Transcript("r"), LIMBS, stream.read).say("x", (None,), None)
    assert (said == words).all()
    words[1, 0, 1] = LIMBS[1]
    stream = io.BytesIO(words.tobytes())
    with pytest.raises(Exception, match="canonical"):
        Reading(Transcript("r"), LIMBS, stream.read).say("x", (None,), None)


def test_a_prover_without_a_value_cannot_speak():
    with pytest.raises(RuntimeError, match="nothing to say"):
        Speaking(Transcript("s"), LIMBS).say("x", (None,), None)
