"""CSV files of records."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from blindproof.cli.record_file import RecordFile, read_csv
from protocol.errors import InputError, NonFiniteError, RangeError, ShapeError
from protocol.features import Category, Feature
from protocol.graph import linear_graph
from protocol.model import ModelCard
from tests.integration import example_models

NUMBER = Feature("a", -1e4, 1e4, 0.0, 1e4)


@pytest.fixture(scope="module")
def card() -> ModelCard:
    return example_models.bundle(example_models.linear_model()).card


@pytest.fixture
def read(tmp_path):
    def written(content: str | bytes) -> RecordFile:
        path = tmp_path / "records.csv"
        path.write_bytes(content.encode() if isinstance(content, str) else content)
        return read_csv(path)

    return written


@pytest.mark.parametrize(
    ("content", "error", "message"),
    [
        ("", ShapeError, "no records"),
        ("a,b\n", ShapeError, "no records"),
        ("a,b\n1\n", ShapeError, "line 2: 1 cells, the header has 2"),
        ("a,b\n1,2,3\n", ShapeError, "line 2: 3 cells"),
        ("a,b,a\n1,2,3\n", ShapeError, "same name"),
        ('a,b\n1,"2\n', InputError, "line 2"),
        (b"a,b\n1,\xff\n", InputError, "not UTF-8 text: save the table as CSV in UTF-8"),
        ("a;b\n1,5;2\n", ShapeError, "separated by semicolons: save the table with commas"),
        ("a\tb\n1\t2\n", ShapeError, "separated by tabs"),
    ],
)
def test_a_bad_file_is_an_input_error(read, content, error, message: str):
    with pytest.raises(error, match=message):
        read(content)


@pytest.mark.parametrize(
    "cell", ["6_0", "\u0661", "nan", "inf", "-Infinity", "0x10", "1e", "1,5", ".", "1 2"]
)
def test_only_decimal_numbers_are_numbers(read, card, cell: str):
    found = read(f'x0,x1,x2\n1,2,3\n\n1,"{cell}",3\n')
    with pytest.raises(ShapeError, match=r"^column 'x1', line 4: not a decimal number$") as caught:
        found.for_model(card)
    assert caught.value.__cause__ is None


def test_numbers_are_read_as_they_are_written(read, card):
    found = read(b"\xef\xbb\xbfa,b\r\n1,2\r\n\r\n-3.5, +1e3 \r\n.5,5.E-1\r\n")
    assert found.columns == ("a", "b")
    assert found.lines == (2, 4, 5)
    assert found.cells == (("1", "-3.5", ".5"), ("2", " +1e3 ", "5.E-1"))
    two = replace(card, features=(NUMBER, replace(NUMBER, name="b")), graph=linear_graph(2, 1))
    values = found.for_model(two).values
    assert np.array_equal(values, [[1.0, 2.0], [-3.5, 1000.0], [0.5, 0.5]])


def test_columns_come_in_any_order(read, card):
    found = read("x2,x0,x1\n3,1,2\n").for_model(card)
    assert np.array_equal(found.values, [[1.0, 2.0, 3.0]])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x0,x1\n1,2\n", "records.csv: missing 'x2'$"),
        (
            "x0,x1,x2,4711.25\n1,2,3,4\n",
            "records.csv: not .*: column 4; drop what is not$",
        ),
        ("4711.25,2,3\n1,2,3\n", "none of its 3 columns .* is there a header line"),
        ("4711.25,x,3\n1,y,3\n", "none of its 3 columns .* is there a header line"),
    ],
)
def test_other_columns_are_refused_and_not_shown(read, card, content: str, message: str):
    with pytest.raises(ShapeError, match=message) as caught:
        read(content).for_model(card)
    assert "4711.25" not in str(caught.value)


def test_messages_name_lines_of_the_file(read, card):
    with pytest.raises(RangeError, match="column 'x1', line 4"):
        read("x0,x1,x2\n1,2,3\n\n1,200,3\n").for_model(card)
    with pytest.raises(NonFiniteError, match="column 'x1', line 3"):
        read("x0,x1,x2\n1,2,3\n1,1e999,3\n").for_model(card)


@pytest.fixture(scope="module")
def mixed(card: ModelCard) -> ModelCard:
    return replace(
        card,
        features=(
            replace(NUMBER, missing=7.0),
            Category("colour", ("blue", "red")),
            Category("level", ("01", "2"), missing="2"),
        ),
        graph=linear_graph(5, 1),
        local=("patient", "note"),
    )


def test_categories_are_texts_and_empty_cells_missing(read, mixed):
    found = read("patient,level,a,colour\n007,01,1,red\n,2,,blue\nx, ,-3,blue\n")
    assert found.for_model(mixed).values.tolist() == [[1, 1, 0], [7, 0, 1], [-3, 0, 1]]
    assert found.local(mixed) == [("patient", ("007", "", "x"))]


@pytest.mark.parametrize(
    ("row", "error", "message"),
    [
        ("1,green,2", ShapeError, "column 'colour', line 3: none of the categories"),
        ("1,red,02", ShapeError, "column 'level', line 3: none of the categories"),
        ("1,,2", NonFiniteError, "column 'colour', line 3: the value is missing"),
        ("x,red,2", ShapeError, "column 'a', line 3: not a decimal number"),
        ("1e5,red,2", RangeError, "column 'a', line 3: the value is outside"),
    ],
)
def test_what_a_column_does_not_take_is_named_by_its_line(read, mixed, row, error, message: str):
    found = read(f"a,colour,level\n1,red,2\n{row}\n")
    with pytest.raises(error, match=message) as caught:
        found.for_model(mixed)
    assert "green" not in str(caught.value)
