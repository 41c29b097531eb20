from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest

from client_sdk.records import RawRecords, normalise, raw_values
from protocol.errors import NonFiniteError, RangeError, ShapeError
from protocol.features import Category, Feature, Thermometer
from protocol.graph import linear_graph
from protocol.model import ModelCard

ROWS = np.array([[-4.0, 1.0, 6.0], [0.0, 2.0, 3.0]])
NORMALISED = (ROWS - 1.0) / 2.0


@pytest.mark.parametrize(
    "records",
    [
        ROWS,
        ROWS.tolist(),
        ROWS.astype(np.float32),
        pd.DataFrame(ROWS, columns=["x0", "x1", "x2"]),
        pd.DataFrame(ROWS[:, ::-1], columns=["x2", "x1", "x0"]),
        [{"x2": row[2], "x0": row[0], "x1": row[1]} for row in ROWS],
        [pd.Series(row[::-1], index=["x2", "x1", "x0"]) for row in ROWS],
        [{"x2": 6, "x1": 1, "x0": -4}, pd.Series(ROWS[1], index=["x0", "x1", "x2"])],
    ],
    ids=["array", "lists", "float32", "frame", "reordered frame", "dicts", "series", "mixed"],
)
def test_every_form_gives_the_same_numbers(card, records):
    values = normalise(card, records)
    assert values.dtype == np.float64
    assert values.flags.c_contiguous
    assert np.array_equal(values, NORMALISED)


@pytest.mark.parametrize(
    "record",
    [
        ROWS[0],
        {"x0": -4, "x1": 1, "x2": 6},
        [-4, 1, 6],
        (-4, 1, 6),
        pd.DataFrame(ROWS[:, ::-1], columns=["x2", "x1", "x0"]).iloc[0],
    ],
    ids=["array", "dict", "list", "tuple", "row of a reordered frame"],
)
def test_one_record_may_come_alone(card, record):
    assert np.array_equal(normalise(card, record), NORMALISED[:1])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (np.zeros((2, 2)), r"3 features.*\(2, 2\)"),
        (np.zeros((2, 3, 1)), "3 features"),
        (np.zeros((0, 3)), "no records"),
        ([], "no records"),
        (pd.DataFrame(columns=["x0", "x1", "x2"]), "no records"),
        (pd.DataFrame(ROWS, columns=["x0", "x1", "x2"]).iloc[:0], "no records"),
        (np.float64(1.0), "not as 'float64'"),
        (iter(ROWS), "not as"),
        (np.zeros(4), r"3 features"),
        (pd.Index([1.0, 2.0, 3.0]), "not as 'Index'"),
        (pd.Series([1.0, 2.0, 3.0]), "record 0 is a series without"),
        (pd.Series([1.0, 2.0, 3.0], index=["anna", "bert", "carl"]), "missing 'x0'"),
        (pd.Series([1.0, 2.0, 3.0, 3.0], index=["x0", "x1", "x2", "x2"]), "twice"),
        ([pd.Series([1.0, 2.0, 3.0])], "record 0 is a series without"),
        ([ROWS[0], pd.Series(ROWS[1], index=["x2", "x1", "x0"])], "record 0 has no names"),
        ([["1_0", 1.0, None]], "column 'x0', row 0: expected a number"),
        ([[1.0, 2.0], [1.0]], "numbers"),
        ([["a", "b", "c"]], "expected a number"),
        ([[None, object(), 1.0]], "column 'x1', row 0: expected a number"),
        (np.zeros((1, 3), dtype=complex), "numbers or categories"),
        (np.array([["1", "2", "3"]]), "expected a number"),
        (np.array([[b"1", b"2", b"3"]]), "numbers or categories"),
        ([{"x0": 1.0, "x1": 1.0}], "record 0: missing 'x2'"),
        ([{"x0": 1.0, "x1": 1.0, "x2": 1.0, "y": 1.0}], "the model's: column 4; drop what is not$"),
        ([{"x0": 1.0, "x1": 1.0, "x2": 1.0}, [1.0, 1.0, 1.0]], "record 1 has no names"),
        (
            pd.DataFrame(ROWS, columns=["x0", "x1", "z"]),
            "missing 'x2'; .* 3; rename or drop",
        ),
        (pd.DataFrame(ROWS[:, [0, 1, 2, 2]], columns=["x0", "x1", "x2", "x2"]), "twice"),
    ],
)
def test_records_of_another_shape_are_refused(card, records, message: str):
    with pytest.raises(ShapeError, match=message):
        normalise(card, records)


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_value_that_is_not_finite_is_named_by_column_and_row(card, bad: float):
    rows = ROWS.copy()
    rows[1, 2] = bad
    with pytest.raises(NonFiniteError, match="column 'x2', row 1"):
        normalise(card, rows)


@pytest.mark.parametrize("bad", [-4.000001, 6.000001, 1e300])
def test_a_value_outside_the_range_is_named_but_not_shown(card, bad: float):
    rows = ROWS.copy()
    rows[1, 0] = bad
    with pytest.raises(RangeError, match=r"column 'x0', row 1: .*\[-4, 6\]") as caught:
        normalise(card, rows)
    assert str(bad) not in str(caught.value)


def test_a_missing_value_in_a_frame_is_not_finite(card):
    frame = pd.DataFrame(ROWS, columns=["x0", "x1", "x2"])
    frame.loc[0, "x1"] = None
    with pytest.raises(NonFiniteError, match="column 'x1', row 0"):
        normalise(card, frame)


def test_a_column_of_a_frame_is_not_a_record(card):
    """As many patients as features: read by position it would look right."""
    frame = pd.DataFrame(np.ones((3, 3)), columns=["x0", "x1", "x2"])
    with pytest.raises(ShapeError, match="one column of a data frame"):
        normalise(card, frame["x0"])


def test_a_frame_may_have_labels_that_are_not_text(card):
    numbered = replace(
        card,
        features=tuple(replace(f, name=str(i)) for i, f in enumerate(card.features)),
    )
    frame = pd.DataFrame(ROWS[:, ::-1], columns=[2, 1, 0])
    assert np.array_equal(normalise(numbered, frame), NORMALISED)


@pytest.mark.parametrize("records", [[["secret-47", 1, 1]], [[1, 1, 10**400]], [{"x0": "secret"}]])
def test_no_message_and_no_cause_shows_a_value(card, records):
    with pytest.raises(ShapeError) as caught:
        normalise(card, records)
    assert "secret" not in str(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__ or caught.value.__context__ is None


def test_names_the_model_does_not_know_are_not_shown(card):
    """Without its header line, a file's first record is taken for one."""
    with pytest.raises(ShapeError) as caught:
        normalise(card, {"4711.5": 1.0, "x1": 2.0, "x2": 1.0})
    assert "4711.5" not in str(caught.value)
    assert "missing 'x0'; not the model's: column 1" in str(caught.value)


def test_rows_are_called_what_the_caller_calls_them(card):
    with pytest.raises(RangeError, match="line 12:"):
        normalise(card, [[100.0, 1.0, 1.0]], lambda row: f"line {row + 12}")
    with pytest.raises(NonFiniteError, match="line 12:"):
        normalise(card, [[np.nan, 1.0, 1.0]], lambda row: f"line {row + 12}")


LEVELS = Category("level", ("1", "2", "10"))
COLOUR = Category("colour", ("blue", "red"), missing="red")
AGE = Feature("age", 0.0, 100.0, 50.0, 50.0, missing=40.0)
STEPS = Thermometer("steps", 0.0, 10.0, (2.0, 5.0))


@pytest.fixture
def mixed(card: ModelCard) -> ModelCard:
    """A number and a category with imputers, a category of numbers, a thermometer."""
    return replace(
        card,
        features=(AGE, COLOUR, LEVELS, STEPS),
        graph=linear_graph(1 + 2 + 3 + 2, 1),
        local=("patient",),
    )


TABLE = [[63.0, "red", "10", 4.0], [40.0, "blue", "2", 5.5]]
RAW = [[63.0, 1.0, 2.0, 4.0], [40.0, 0.0, 1.0, 5.5]]
NAMES = ["age", "colour", "level", "steps"]


@pytest.mark.parametrize(
    "records",
    [
        TABLE,
        np.array(TABLE, dtype=object),
        pd.DataFrame(TABLE, columns=NAMES),
        pd.DataFrame([[*row, "anna"] for row in TABLE], columns=[*NAMES, "patient"]),
        pd.DataFrame(TABLE, columns=NAMES).astype({"colour": "category", "age": "Float64"}),
        pd.DataFrame(TABLE, columns=NAMES).astype({"level": int, "colour": "string"}),
        [dict(zip(NAMES, row, strict=True)) for row in TABLE],
        [dict(zip(["patient", *NAMES], [None, *row], strict=True)) for row in TABLE],
        [[63.0, "red", 10, 4.0], [40.0, "blue", 2.0, 5.5]],
        [[63.0, "red", np.float32(10), 4.0], [None, "blue", np.int64(2), 5.5]],
        [[63.0, None, 10, 4.0], [pd.NA, "blue", 2.0, 5.5]],
        RawRecords(np.array(RAW)),
        RawRecords(np.array([[63.0, np.nan, 2.0, 4.0], [np.nan, 0.0, 1.0, 5.5]])),
    ],
)
def test_categories_and_missing_values_become_raw_values(mixed, records):
    assert raw_values(mixed, records).tolist() == RAW


def test_columns_are_encoded_in_order(mixed):
    assert normalise(mixed, TABLE).tolist() == [
        [0.26, 0.0, 1.0, 0.0, 0.0, 1.0, 1.0, 0.0],
        [-0.2, 1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 1.0],
    ]


def test_categories_that_are_numbers_are_found_in_arrays_of_numbers(card):
    levels = replace(card, features=(LEVELS, STEPS), graph=linear_graph(5, 1))
    rows = np.array([[10, 1], [1, 2], [2, 3]])
    assert raw_values(levels, rows)[:, 0].tolist() == [2.0, 0.0, 1.0]
    with pytest.raises(ShapeError, match="column 'level', row 1: the value is none of the 3"):
        raw_values(levels, np.array([[10, 1], [11, 2]]))
    with pytest.raises(NonFiniteError, match="column 'level', row 0: the value is missing"):
        raw_values(levels, np.array([[np.nan, 1.0]]))


@pytest.mark.parametrize(
    ("place", "value", "error", "message"),
    [
        ("colour", "secret", ShapeError, "none of the 2 categories"),
        ("colour", " red", ShapeError, "none of the 2 categories"),
        ("colour", 1.0, ShapeError, "none of the 2 categories"),
        ("level", "3", ShapeError, "none of the 3 categories"),
        ("level", "10.0", ShapeError, "none of the 3 categories"),
        ("level", 1.5, ShapeError, "none of the 3 categories"),
        ("level", 10**400, ShapeError, "none of the 3 categories"),
        ("level", None, NonFiniteError, "missing, and this model's card has no imputer"),
        ("steps", None, NonFiniteError, "missing, and this model's card has no imputer"),
        ("steps", np.inf, NonFiniteError, "infinite"),
        ("steps", 10.5, RangeError, r"outside \[0, 10\]"),
        ("age", "60", ShapeError, "expected a number"),
    ],
)
def test_what_a_column_does_not_take_is_named_but_not_shown(
    mixed, place: str, value: object, error: type[Exception], message: str
):
    rows = [dict(zip(NAMES, row, strict=True)) for row in TABLE]
    rows[1][place] = value
    lists = [list(row.values()) for row in rows]
    for records in (rows, lists, pd.DataFrame(rows, dtype=object)):
        with pytest.raises(error, match=f"column '{place}', row 1: .*{message}") as caught:
            raw_values(mixed, records)
        assert "secret" not in str(caught.value)


def test_a_category_wants_texts(card):
    colours = replace(card, features=(COLOUR, AGE), graph=linear_graph(3, 1))
    with pytest.raises(ShapeError, match="column 'colour': expected texts"):
        raw_values(colours, np.zeros((2, 2)))


@pytest.mark.parametrize("raw", [[[50.0, 0.5, 0.0, 0.0]], [[50.0, 0.0, 0.0]]])
def test_raw_records_must_be_of_the_card(mixed, raw):
    with pytest.raises(ShapeError):
        raw_values(mixed, RawRecords(np.array(raw)))


@pytest.mark.parametrize("index", [-1.0, 2.0])
def test_raw_indices_are_of_categories(mixed, index: float):
    with pytest.raises(RangeError, match="column 'colour'"):
        raw_values(mixed, RawRecords(np.array([[50.0, index, 0.0, 0.0]])))


def test_raw_values_are_not_the_callers_array(card):
    rows = ROWS.copy()
    raw = raw_values(card, rows)
    raw[:] = 0
    assert np.array_equal(rows, ROWS)


def test_columns_that_are_neither_features_nor_local_are_refused(mixed):
    frame = pd.DataFrame(TABLE, columns=NAMES).assign(name="anna")
    with pytest.raises(ShapeError, match=r"the model's: column 5; drop what is not$") as caught:
        raw_values(mixed, frame)
    assert "anna" not in str(caught.value)
