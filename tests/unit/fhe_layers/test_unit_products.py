from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fhe_layers.monomials import expand
from fhe_layers.unit_products import UnitProducts
from protocol.features import Category, Feature, Thermometer, encode_columns

COLUMNS = (
    Feature("number", -2.0, 2.0, 0.0, 1.0),
    Thermometer("level", 0.0, 4.0, (1.0, 2.0, 3.0)),
    Category("colour", ("blue", "red")),
    Category("other", ("a", "b")),
)
RULES = UnitProducts.of(COLUMNS)
UNITS = sum(column.inputs for column in COLUMNS)


@pytest.mark.parametrize(
    ("left", "right", "product"),
    [
        ((0,), (0,), (0, 0)),
        ((1,), (1,), (1,)),
        ((1,), (3,), (3,)),
        ((4,), (4,), (4,)),
        ((4,), (5,), None),
        ((4,), (6,), (4, 6)),
        ((0, 2, 4), (0, 1, 7), (0, 0, 2, 4, 7)),
        ((0, 2, 4), (5, 6), None),
        ((), (0, 3), (0, 3)),
        ((), (0, 1, 1, 2, 5, 5), (0, 2, 5)),
    ],
)
def test_products_are_simplified(left, right, product):
    assert RULES.product(left, right) == product
    assert RULES.product(right, left) == product


MONOMIALS = st.lists(st.integers(0, UNITS - 1), max_size=4).map(lambda units: tuple(sorted(units)))
RECORDS = st.tuples(
    st.floats(-2, 2), st.sampled_from([0.0, 1.0, 1.5, 2.5, 4.0]), st.sampled_from([0.0, 1.0]),
    st.sampled_from([0.0, 1.0]),
)  # fmt: skip


@given(MONOMIALS, MONOMIALS, RECORDS)
def test_a_simplified_product_has_the_same_value_for_every_record(left, right, record):
    units = encode_columns(COLUMNS, np.array([record]))
    values = expand(units, [left, right])[0]
    product = RULES.product(left, right)
    simple = 0.0 if product is None else float(expand(units, [product])[0, 0])
    assert simple == pytest.approx(values.prod())
    assert product is None or RULES.product(product, ()) == product
