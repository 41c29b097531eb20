"""Affine forms stand for the values they name; multiplications hold for right products only."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adversarial.scenario import MODULI
from zk_layers.extension import ONE, ZERO, Element, element, extension, scalars
from zk_layers.reduction.forms import (
    Algebra,
    Form,
    Multiplication,
    Opened,
    WeightForm,
    product_form,
)
from zk_layers.reduction.limb import limb_of
from zk_layers.reduction.pads import Pads

Q = MODULI[0]
S = scalars(Q)
A = Algebra(S)
RNG = np.random.default_rng(1)
HIDDEN: Element = (12345, 678)
PADS = RNG.integers(0, Q, (4, 2), dtype=np.uint64)
WEIGHTS = RNG.integers(0, Q, 6, dtype=np.uint64)

words = st.integers(0, Q - 1)
elements = st.tuples(words, words)


@st.composite
def forms(draw: Callable) -> Form:
    pads = draw(st.dictionaries(st.integers(0, 3), elements, max_size=3))
    size = draw(st.integers(1, 3))
    offset = draw(st.integers(0, 6 - size))
    coefficients = draw(st.lists(elements, min_size=size, max_size=size))
    part = WeightForm(offset, np.array(coefficients, dtype=np.uint64).T.copy())
    weights = ((draw(elements), part),) if draw(st.booleans()) else ()
    return Form(draw(elements), draw(elements), pads, weights)


def worth(form: Form, pads: np.ndarray = PADS) -> Element:
    """A form's value for the pads, weights and hidden part of this module, by definition."""
    total = S.add(form.constant, S.mul(form.first, HIDDEN))
    for index, coefficient in form.pads.items():
        total = S.add(total, S.mul(coefficient, element(pads[index])))
    for factor, part in form.weights:
        for i in range(part.words.shape[1]):
            term = S.mul(element(part.words[:, i]), (int(WEIGHTS[part.offset + i]), 0))
            total = S.add(total, S.mul(factor, term))
    return total


@given(forms(), forms(), elements)
def test_forms_add_and_scale_as_their_values_do(a, b, factor):
    assert worth(A.add(a, b)) == S.add(worth(a), worth(b))
    assert worth(A.sub(a, b)) == S.sub(worth(a), worth(b))
    assert worth(A.scale(a, factor)) == S.mul(factor, worth(a))
    assert worth(A.scale(a, ONE)) == worth(a)
    assert worth(A.combine([(factor, a), (ONE, b)])) == S.add(S.mul(factor, worth(a)), worth(b))
    assert worth(A.add(a)) == worth(a)


@given(elements)
def test_an_opened_value_is_what_was_padded(value):
    padded = Opened(S.sub(value, element(PADS[2])), 2)
    assert worth(padded.form()) == value
    assert worth(Opened(value, None).form()) == value


def planned(*, square: bool) -> tuple[Multiplication, np.ndarray]:
    """A multiplication and honest pads."""
    pads = Pads(hidden=True)
    x = pads.one()
    y = x if square else pads.one()
    multiplication = pads.multiplication(x, y)
    assert multiplication is not None
    uniform = np.random.default_rng(3).integers(0, Q, (pads.count, 2), dtype=np.uint64)
    return multiplication, pads.fill(uniform, extension(Q))


@pytest.mark.accepts("C-54")
@pytest.mark.parametrize("square", [True, False], ids=["square", "product"])
def test_right_products_satisfy_every_equation(square):
    multiplication, pads = planned(square=square)
    assert multiplication.square is square
    x, y = (element(pads[i]) for i in (multiplication.x, multiplication.y))
    assert element(pads[multiplication.product]) == S.mul(x, y)
    for r in ((7, 9), ZERO, ONE):
        masks = multiplication.masks(S, r, pads)
        assert len(masks) == multiplication.masks_count == (1 if square else 2)
        for form in multiplication.constraints(A, r, masks):
            assert worth(form, pads) == ZERO


@pytest.mark.rejects("C-54")
@pytest.mark.parametrize("square", [True, False], ids=["square", "product"])
def test_a_wrong_product_survives_for_no_more_challenges_than_stated(square):
    """Errors p of the product and p' of the spare one cancel at r = p'/p, or r^2 = p'/p."""
    multiplication, pads = planned(square=square)
    root: Element = (3, 5)
    wrong: Element = (11, 4)
    spare = S.mul(wrong, S.mul(root, root) if square else root)
    for index, by in ((multiplication.product, wrong), (multiplication.spare_product, spare)):
        pads[index] = S.add(element(pads[index]), by)

    def holds(r: Element) -> bool:
        masks = multiplication.masks(S, r, pads)
        return all(worth(f, pads) == ZERO for f in multiplication.constraints(A, r, masks))

    assert holds(root)
    assert holds(S.neg(root)) is square
    others = [element(pair) for pair in RNG.integers(0, Q, (20, 2), dtype=np.uint64)]
    assert not any(holds(r) for r in [ZERO, ONE, *others])


@pytest.mark.rejects("C-54")
@pytest.mark.parametrize("square", [True, False], ids=["square", "product"])
def test_wrong_masks_break_an_equation(square):
    multiplication, pads = planned(square=square)
    r: Element = (7, 9)
    masks = multiplication.masks(S, r, pads)
    for index in range(len(masks)):
        changed = [S.add(m, ONE) if i == index else m for i, m in enumerate(masks)]
        values = [worth(f, pads) for f in multiplication.constraints(A, r, changed)]
        assert values[index] != ZERO


@given(elements, elements)
def test_the_product_of_opened_values_is_a_form(a, b):
    multiplication, pads = planned(square=False)
    x = Opened(S.sub(a, element(pads[multiplication.x])), multiplication.x)
    y = Opened(S.sub(b, element(pads[multiplication.y])), multiplication.y)
    assert worth(product_form(A, x, y, multiplication), pads) == S.mul(a, b)
    clear = product_form(A, Opened(a, None), Opened(b, None), None)
    assert (clear.constant, clear.pads) == (S.mul(a, b), {})
    with pytest.raises(ValueError, match="other pads"):
        product_form(A, y, x, multiplication)


@given(elements)
def test_the_square_of_an_opened_value_is_a_form(a):
    multiplication, pads = planned(square=True)
    x = Opened(S.sub(a, element(pads[multiplication.x])), multiplication.x)
    assert worth(product_form(A, x, x, multiplication), pads) == S.mul(a, a)


def test_nothing_is_padded_in_public():
    pads = Pads(hidden=False)
    assert pads.many(3) == (None, None, None)
    assert pads.multiplication(pads.one(), pads.one()) is None
    assert pads.count == 0


@given(st.lists(st.integers(0, 4), min_size=1, max_size=30))
def test_gathering_sums_what_shares_an_index(index):
    rng = np.random.default_rng(len(index))
    values = rng.integers(0, Q, (2, len(index)), dtype=np.uint64)
    values[:, 0] = Q - 1
    found = limb_of(Q).gather_add(values, np.array(index, dtype=np.int64), 5)
    for c in range(2):
        for i in range(5):
            total = sum(int(v) for v, at in zip(values[c], index, strict=True) if at == i)
            assert int(found[c, i]) == total % Q
