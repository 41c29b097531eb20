from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from client_sdk.records import normalise
from protocol.errors import NonFiniteError, RangeError, ShapeError

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
    ],
    ids=["array", "lists", "float32", "frame", "reordered frame", "dicts"],
)
def test_every_form_gives_the_same_numbers(card, records):
    values = normalise(card, records)
    assert values.dtype == np.float64
    assert values.flags.c_contiguous
    assert np.array_equal(values, NORMALISED)


@pytest.mark.parametrize(
    "record", [ROWS[0], {"x0": -4, "x1": 1, "x2": 6}, [-4, 1, 6]], ids=["array", "dict", "list"]
)
def test_one_record_may_come_alone(card, record):
    assert np.array_equal(normalise(card, record), NORMALISED[:1])


@pytest.mark.parametrize(
    ("records", "message"),
    [
        (np.zeros((2, 2)), r"3 features.*\(2, 2\)"),
        (np.zeros((2, 3, 1)), "3 features"),
        (np.zeros((0, 3)), "3 features"),
        (np.float64(1.0), "3 features"),
        ([], "3 features"),
        ([[1.0, 2.0], [1.0]], "numbers"),
        ([["a", "b", "c"]], "numbers"),
        ([[None, object(), 1.0]], "numbers"),
        (np.zeros((1, 3), dtype=complex), "numbers"),
        ([{"x0": 1.0, "x1": 1.0}], "record 0: missing 'x2'"),
        ([{"x0": 1.0, "x1": 1.0, "x2": 1.0, "y": 1.0}], "unknown 'y'"),
        ([{"x0": 1.0, "x1": 1.0, "x2": 1.0}, [1.0, 1.0, 1.0]], "record 1 is not a dict"),
        (pd.DataFrame(ROWS, columns=["x0", "x1", "z"]), "missing 'x2'; unknown 'z'"),
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
