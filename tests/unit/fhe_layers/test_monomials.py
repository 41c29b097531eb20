from __future__ import annotations

from fractions import Fraction
from math import comb, prod

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_layers.monomials import (
    canonical,
    count_monomials,
    expand,
    fixed_point_monomials,
    monomials,
)
from fhe_layers.packing import fixed_point
from protocol.errors import NonFiniteError, ShapeError

FINITE = st.floats(-1e6, 1e6)


def test_monomials_are_listed_by_degree_and_then_by_features():
    assert monomials(3, 2) == (
        *((0,), (1,), (2,)),
        *((0, 0), (0, 1), (0, 2), (1, 1), (1, 2), (2, 2)),
    )
    assert monomials(3, 2) == canonical(reversed(monomials(3, 2)))


@pytest.mark.parametrize(("features", "degree"), [(1, 1), (30, 2), (4, 4)])
def test_there_are_as_many_as_counted(features, degree):
    listed = monomials(features, degree)
    assert len(set(listed)) == len(listed) == count_monomials(features, degree)
    assert count_monomials(features, degree) == comb(features + degree, degree) - 1


def test_expanded_records_are_products_of_their_columns():
    records = np.random.default_rng(1).normal(size=(5, 4))
    expansion = monomials(4, 3)
    values = expand(records, expansion)
    assert values.shape == (5, len(expansion))
    for row, record in zip(values, records, strict=True):
        expected = [prod(record[k] for k in monomial) for monomial in expansion]
        assert row == pytest.approx(expected, rel=1e-14)


@given(st.lists(FINITE, min_size=3, max_size=3), st.integers(10, 139))
def test_fixed_point_rounds_the_exact_product_once(record, scale_log2):
    expansion = monomials(3, 3)
    encoded = fixed_point_monomials(np.array(record), expansion, scale_log2)
    for value, monomial in zip(encoded, expansion, strict=True):
        exact = prod(Fraction(record[k]) for k in monomial) * 2**scale_log2
        assert abs(value - exact) <= Fraction(1, 2)


def test_first_powers_are_encoded_as_plain_features_are():
    record = np.random.default_rng(2).normal(size=6)
    assert fixed_point_monomials(record, monomials(6, 1), 96) == fixed_point(record, 96)


@pytest.mark.parametrize("expansion", [((3,),), ((0, 3),), ((-1,),)])
def test_features_that_there_are_not_are_refused(expansion):
    with pytest.raises(ShapeError, match="not among the 3"):
        expand(np.zeros((1, 3)), expansion)
    with pytest.raises(ShapeError, match="not among the 3"):
        fixed_point_monomials(np.zeros(3), expansion, 40)


def test_what_is_not_finite_is_refused():
    with pytest.raises(NonFiniteError):
        fixed_point_monomials(np.array([1.0, np.inf]), monomials(2, 2), 40)


def test_a_matrix_is_no_record_and_a_record_no_matrix():
    with pytest.raises(ShapeError):
        fixed_point_monomials(np.zeros((1, 3)), monomials(3, 1), 40)
    with pytest.raises(ShapeError):
        expand(np.zeros(3), monomials(3, 1))
