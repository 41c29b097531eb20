"""Single elements of E against arrays over E and against the definition."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.adversarial.network_prover import inverse
from tests.adversarial.scenario import MODULI
from zk_layers.extension import ONE, ZERO, Element, element, element_words, extension, scalars

Q = MODULI[1]
S = scalars(Q)
words = st.integers(0, Q - 1)
elements = st.tuples(words, words)


def test_the_modulus_of_the_extension_is_irreducible():
    assert pow(S.nonresidue, (Q - 1) // 2, Q) == Q - 1
    root = (0, 1)
    assert S.mul(root, root) == (S.nonresidue, 0)


@given(elements, elements, elements)
def test_it_is_a_commutative_ring(a, b, c):
    assert S.mul(a, b) == S.mul(b, a)
    assert S.mul(S.mul(a, b), c) == S.mul(a, S.mul(b, c))
    assert S.mul(a, S.add(b, c)) == S.add(S.mul(a, b), S.mul(a, c))
    assert S.add(a, S.neg(a)) == ZERO
    assert S.sub(a, b) == S.add(a, S.neg(b))
    assert S.mul(a, ONE) == a
    assert S.add() == ZERO


@given(elements.filter(lambda a: a != ZERO))
def test_it_is_a_field(a):
    assert S.mul(a, inverse(a, Q)) == ONE


@given(elements, elements, st.integers(-(1 << 200), 1 << 200))
def test_elements_and_arrays_agree(a, b, factor):
    first, second = (np.array([[x], [y]], dtype=np.uint64) for x, y in (a, b))
    product = extension(Q).mul(first, second)
    assert element(product[:, 0]) == S.mul(a, b)
    scaled = extension(Q).scale(first, element_words(b))
    assert element(scaled[:, 0]) == S.mul(a, b)
    assert S.scale(a, factor) == S.mul(a, (factor % Q, 0))
    assert element(element_words(a)) == a


@given(elements, st.integers(0, 6))
def test_powers(a, count):
    expected: list[Element] = []
    power = ONE
    for _ in range(count):
        expected.append(power)
        power = S.mul(power, a)
    assert S.powers(a, count) == expected


@pytest.mark.parametrize("degree", [1, 2, 3, 4, 5])
def test_the_lagrange_basis_interpolates(degree):
    rng = np.random.default_rng(degree)
    coefficients = [element(pair) for pair in rng.integers(0, Q, (degree + 1, 2), dtype=np.uint64)]

    def value(x: Element) -> Element:
        return S.dot(coefficients, S.powers(x, degree + 1))

    samples = [value((i, 0)) for i in range(degree + 1)]
    for x in ((5, 7), (0, 0), (1, 0), (degree, 0), (Q - 1, 3)):
        basis = S.lagrange(x, degree)
        assert S.dot(basis, samples) == value(x)
        assert S.add(*basis) == ONE
