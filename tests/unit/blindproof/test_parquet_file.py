from __future__ import annotations

import sys
from decimal import Decimal
from io import BytesIO
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from blindproof.cli.parquet_file import (
    ParquetRecords,
    is_parquet,
    parquet_bytes,
    read_parquet,
    require_parquet,
)
from client_sdk.tables import MissingPackageError
from protocol.errors import InputError, NonFiniteError, RangeError, ShapeError
from protocol.features import Category, Feature
from protocol.model import ModelCard
from tests.integration import example_models

FEATURES = (
    Feature("x0", -4.0, 6.0, 1.0, 2.0),
    Feature("x1", -4.0, 6.0, 1.0, 2.0, missing=1.5),
    Category("colour", ("blue", "red")),
)


@pytest.fixture(scope="module")
def card() -> ModelCard:
    """Two numbers, one of them imputed, a category, and a column that clients keep."""
    from dataclasses import replace

    model = example_models.linear_model(features=4)
    return example_models.bundle(replace(model, features=FEATURES, local=("name",))).card


@pytest.fixture
def written(tmp_path: Path):
    def write(frame: pd.DataFrame, **options: object) -> ParquetRecords:
        frame.to_parquet(tmp_path / "records.parquet", **options)
        return read_parquet(tmp_path / "records.parquet")

    return write


@pytest.fixture
def frame() -> pd.DataFrame:
    return pd.DataFrame(
        {
            "name": ["a", "b", "c"],
            "x1": [1.0, np.nan, 3.0],
            "colour": ["red", "blue", "red"],
            "x0": [0, 1, 2],
        }
    )


def test_columns_are_taken_by_name_and_missing_values_imputed(written, frame, card):
    records = written(frame)
    assert records.for_model(card).values.tolist() == [[0, 1, 1], [1, 1.5, 0], [2, 3, 1]]
    assert records.local(card) == [("name", ["a", "b", "c"])]
    assert records.lines == (1, 2, 3)


def test_every_type_of_number_and_text_is_read(written, frame, card):
    expected = written(frame).for_model(card).values
    frame["x0"] = [Decimal(0), Decimal(1), Decimal(2)]
    frame["x1"] = pd.array([1, None, 3], dtype="Int64")
    frame["colour"] = frame["colour"].astype("category")
    assert np.array_equal(written(frame).for_model(card).values, expected)
    frame["x0"] = [False, True, True]
    assert written(frame).for_model(card).values[:, 0].tolist() == [0, 1, 1]


def test_an_index_is_carried_to_the_output(written, frame, card):
    named = written(frame.set_axis(pd.Index(["p", "q", "r"], name="patient")))
    assert named.local(card) == [("name", ["a", "b", "c"]), ("patient", ["p", "q", "r"])]
    assert len(named.for_model(card).values) == 3
    unnamed = written(frame.set_axis([4, 2, 9]))
    assert unnamed.local(card)[-1] == ("index 0", [4, 2, 9])
    counting = written(frame.set_axis(pd.RangeIndex(10, 16, 2, name="row")))
    assert counting.local(card)[-1] == ("row", [10, 12, 14])
    assert written(frame.set_index("x0")).for_model(card).values[:, 0].tolist() == [0, 1, 2]


def test_missing_values_of_copied_columns_are_none(written, frame, card):
    frame["name"] = [1.5, np.nan, 2.5]
    assert written(frame).local(card) == [("name", [1.5, None, 2.5])]


def test_messages_name_column_and_record_and_no_value(written, frame, card):
    with pytest.raises(RangeError, match="column 'x0', record 2: the value is outside"):
        written(frame.assign(x0=[0, 99, 0])).for_model(card)
    with pytest.raises(NonFiniteError, match="column 'x0', record 3: the value is missing"):
        written(frame.assign(x0=[0.0, 1.0, np.nan])).for_model(card)
    with pytest.raises(ShapeError, match="column 'colour', record 1") as caught:
        written(frame.assign(colour=["violet", "red", "red"])).for_model(card)
    assert "violet" not in str(caught.value)
    with pytest.raises(ShapeError, match="missing 'colour'; not the model's: column 4"):
        written(frame.rename(columns={"colour": "hue"})[["name", "x0", "x1", "hue"]]).for_model(
            card
        )


def test_what_is_no_parquet_file_is_an_input_error(tmp_path, written, frame):
    path = tmp_path / "other.parquet"
    with pytest.raises(InputError, match="No such file"):
        read_parquet(path)
    path.write_text("x0,x1\n1,2\n")
    with pytest.raises(InputError, match="not a Parquet file"):
        read_parquet(path)
    whole = (tmp_path / "whole.parquet").resolve()
    frame.to_parquet(whole)
    path.write_bytes(whole.read_bytes()[:-20])
    with pytest.raises(InputError, match="not a Parquet file, or a damaged one"):
        read_parquet(path)
    with pytest.raises(ShapeError, match="no records"):
        written(frame[:0])


def test_columns_are_written_with_their_types_and_what_is_said_of_all():
    data = parquet_bytes(
        [("line", [1, 2]), ("label", ["no", "yes"]), ("y", [0.5, 1.5])], {"blindproof.model": "ab"}
    )
    frame = pd.read_parquet(BytesIO(data))
    assert frame.to_dict("list") == {"line": [1, 2], "label": ["no", "yes"], "y": [0.5, 1.5]}
    import pyarrow.parquet

    assert pyarrow.parquet.read_schema(BytesIO(data)).metadata[b"blindproof.model"] == b"ab"
    with pytest.raises(InputError, match="values of several types"):
        parquet_bytes([("mixed", [1, "secret"])], {})


def test_without_pyarrow_the_error_says_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow.parquet", None)
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    for refused in (require_parquet, lambda: read_parquet(tmp_path / "records.parquet")):
        with pytest.raises(MissingPackageError, match=r"pip install 'blindproof\[parquet\]'"):
            refused()


def test_files_are_told_by_their_names():
    assert is_parquet(Path("a.parquet"))
    assert is_parquet(Path("a.PQ"))
    assert not is_parquet(Path("parquet.csv"))
