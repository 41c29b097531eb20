from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import decode, encode
from protocol.errors import BlindproofError, EncodingError, ModelError
from protocol.features import (
    MAX_CATEGORIES,
    MAX_EDGES,
    MAX_NAME,
    Category,
    Feature,
    Privacy,
    Thermometer,
    column_from_value,
    encode_columns,
)

NUMBER = Feature("age", 0.0, 100.0, 40.0, 50.0, measured_in="years")
THERMOMETER = Thermometer("steps", 0.0, 10.0, (0.0, 2.5, 9.0), privacy=Privacy.PLAINTEXT)
CATEGORY = Category("colour", ("blue", "red", "green"), missing="red")
COLUMNS = (NUMBER, replace(NUMBER, name="second", centre=0.0), THERMOMETER, CATEGORY)


@pytest.mark.parametrize("column", COLUMNS)
def test_columns_come_back(column):
    assert column_from_value(decode(encode(column.value()))) == column


def test_a_privacy_may_be_given_by_name():
    """Text that equals a privacy but is none would be taken for encrypted."""
    column = Category("colour", ("blue",), "plaintext")  # type: ignore[arg-type]
    assert column.privacy is Privacy.PLAINTEXT
    with pytest.raises(ModelError, match="'encrypted' or 'plaintext'"):
        replace(NUMBER, privacy="public")


def test_inputs_are_scaled_compared_and_marked():
    raw = np.array([[90.0, -10.0, 0.0, 2.0], [40.0, 50.0, 2.6, 0.0]])
    assert encode_columns(COLUMNS, raw).tolist() == [
        [1.0, -0.2, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0],
        [0.0, 1.0, 1.0, 1.0, 0.0, 1.0, 0.0, 0.0],
    ]


def test_all_columns_together_are_encoded_as_each_alone():
    rng = np.random.default_rng(5)
    raw = np.column_stack([rng.uniform(0, 10, (50, 3)), rng.integers(0, 3, 50).astype(np.float64)])
    parts = [column.encode(raw[:, index]) for index, column in enumerate(COLUMNS)]
    encoded = encode_columns(COLUMNS, raw)
    assert encoded.tobytes() == np.column_stack(parts).tobytes()
    assert encoded.flags.c_contiguous


@pytest.mark.parametrize("column", COLUMNS)
def test_bounds_and_names_are_those_of_the_inputs(column):
    ends = np.array([0.0, 2.0]) if isinstance(column, Category) else np.array([0.0, 10.0, 100.0])
    if isinstance(column, Thermometer):
        ends = ends[:2]
    inputs = column.encode(ends)
    assert inputs.shape == (len(ends), column.inputs)
    assert len(column.input_names) == column.inputs == len(set(column.input_names))
    assert np.abs(inputs).max() == column.bound
    assert inputs.max() - inputs.min() == column.width


@pytest.mark.parametrize(
    "make",
    [
        lambda: Feature("", 0, 1, 0, 1),
        lambda: Feature("x" * (MAX_NAME + 1), 0, 1, 0, 1),
        lambda: replace(NUMBER, measured_in="x" * (MAX_NAME + 1)),
        lambda: replace(NUMBER, missing=100.1),
        lambda: replace(NUMBER, missing=float("nan")),
        lambda: replace(NUMBER, scale=0.0),
        lambda: Thermometer("x", 0, 1, ()),
        lambda: Thermometer("x", 0, 1, (0.5, 0.5)),
        lambda: Thermometer("x", 0, 1, (0.6, 0.5)),
        lambda: Thermometer("x", 0, 1, (-0.1, 0.5)),
        lambda: Thermometer("x", 0, 1, (0.5, 1.0)),
        lambda: Thermometer("x", 0, 1, (0.5, float("nan"))),
        lambda: Thermometer("x", 1, 0, (0.5,)),
        lambda: Thermometer("x", 0, 1, tuple(k / 300 for k in range(MAX_EDGES + 1))),
        lambda: replace(THERMOMETER, missing=11.0),
        lambda: Category("x", ()),
        lambda: Category("x", ("a", "a")),
        lambda: Category("x", ("a", "")),
        lambda: Category("x", ("a" * (MAX_NAME + 1),)),
        lambda: Category("x", tuple(map(str, range(MAX_CATEGORIES + 1)))),
        lambda: Category("x", ("a",), missing="b"),
    ],
)
def test_invalid_columns_are_refused(make):
    with pytest.raises(ModelError):
        make()


@pytest.mark.parametrize("column", COLUMNS[1:])
@pytest.mark.parametrize("wrong", [True, 1, b"x", (), (None,)])
def test_fields_of_a_wrong_type_are_refused_when_parsed(column, wrong):
    value = column.value()
    for index in range(len(value)):
        with pytest.raises(BlindproofError):
            column_from_value((*value[:index], wrong, *value[index + 1 :]))


@pytest.mark.parametrize(
    "value",
    [
        (),
        ("numbers", "x", 0.0),
        (*NUMBER.value(), None),
        NUMBER.value()[:-1],
        NUMBER.value()[1:],
        (*THERMOMETER.value(), None),
        (*CATEGORY.value(), None),
        CATEGORY.value()[:-1],
        (*CATEGORY.value()[:3], "local", None),
    ],
)
def test_values_of_another_form_are_refused(value):
    with pytest.raises(EncodingError):
        column_from_value(value)


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20, unique=True),
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=20),
)
def test_a_thermometer_says_between_which_edges_a_value_is(edges, values):
    edges.sort()
    column = Thermometer("x", -2e6, 2e6, tuple(edges))
    bits = column.encode(np.array(values))
    assert (np.diff(bits, axis=1) <= 0).all(), "above a larger edge is above the smaller ones"
    below = [sum(edge < value for edge in edges) for value in values]
    assert bits.sum(axis=1).tolist() == below
