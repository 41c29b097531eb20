"""`blindproof predict` on tables with a category, a copied column and missing values."""

from __future__ import annotations

import csv
import json
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pyarrow.parquet
import pytest
from typer.testing import CliRunner, Result

from blindproof.cli import app
from blindproof.local_server import LocalServer
from protocol.features import Category, Feature
from protocol.model import ModelCard
from tests.integration import example_models

FRAME = pd.DataFrame(
    {
        "name": ["Ada", "Bo", "Cy"],
        "colour": ["red", "blue", "red"],
        "x0": [0.0, 1.0, -2.0],
        "x1": [2.0, None, 5.0],
    },
    index=pd.Index(["p1", "p2", "p3"], name="patient"),
)


@pytest.fixture(scope="module")
def server() -> Iterator[LocalServer]:
    with LocalServer() as running:
        yield running


@pytest.fixture(scope="module")
def card(server: LocalServer) -> ModelCard:
    model = replace(
        example_models.linear_model(features=4),
        features=(
            Feature("x0", -4.0, 6.0, 1.0, 2.0),
            Feature("x1", -4.0, 6.0, 1.0, 2.0, missing=1.0),
            Category("colour", ("blue", "red")),
        ),
        local=("name", "patient"),
        labels=("0", "1"),
        integer_labels=True,
    )
    return server.publish(model, precision_bits=16.0)


@pytest.fixture
def predict(server: LocalServer, card: ModelCard, tmp_path: Path, monkeypatch):
    """Runs the command on a file, with any further options."""
    monkeypatch.setenv("BLINDPROOF_PASSPHRASE", "of this test")

    def run(records: Path, *options: str) -> Result:
        connection = (
            f"--target={server.address}",
            f"--model={card.digest.hex()}",
            f"--keys={tmp_path / 'keys'}",
            f"--ca={server.ca}",
        )
        return CliRunner().invoke(app, ["predict", str(records), *connection, *options])

    return run


@pytest.fixture
def parquet(tmp_path: Path) -> Path:
    FRAME.to_parquet(tmp_path / "in.parquet")
    return tmp_path / "in.parquet"


def test_parquet_in_and_out_keeps_index_copied_columns_and_types(
    server, card, predict, parquet, tmp_path
):
    output = tmp_path / "out.parquet"
    run = predict(parquet, f"--output={output}")
    assert run.exit_code == 0, run.output
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    found = pd.read_parquet(output)
    assert list(found.columns) == ["line", "name", "patient", "y0", "label", "score"]
    assert found["line"].tolist() == [1, 2, 3]
    assert found["name"].tolist() == ["Ada", "Bo", "Cy"]
    assert found["patient"].tolist() == ["p1", "p2", "p3"]
    model = server.model(card)
    asked = FRAME.reset_index()
    assert found["label"].tolist() == model.predict(asked).tolist()
    assert found["y0"].tolist() == pytest.approx(list(model.decision_function(asked)), abs=1e-3)
    metadata = pyarrow.parquet.read_schema(output).metadata
    assert metadata[b"blindproof.model"].decode() == card.digest.hex()
    assert float(metadata[b"blindproof.error_bound"]) < 1e-3


def test_csv_and_parquet_of_the_same_table_give_the_same_labels(predict, parquet, tmp_path):
    table = tmp_path / "in.csv"
    FRAME.to_csv(table)
    answers = []
    for path in (table, parquet):
        run = predict(path)
        assert run.exit_code == 0, run.output
        answers.append(list(csv.DictReader(run.stdout.splitlines())))
    for key in ("label", "name", "patient"):
        assert [row[key] for row in answers[0]] == [row[key] for row in answers[1]]
    assert [row["line"] for row in answers[0]] == ["2", "3", "4"]


def test_json_takes_what_parquet_has(predict, tmp_path):
    frame = FRAME.assign(name=pd.to_datetime(["2020-01-01", "2020-01-02", None]))
    frame.to_parquet(tmp_path / "in.parquet")
    output = tmp_path / "out.json"
    run = predict(tmp_path / "in.parquet", f"--output={output}")
    assert run.exit_code == 0, run.output
    rows = json.loads(output.read_text())["predictions"]
    assert [row["name"] for row in rows] == ["2020-01-01 00:00:00", "2020-01-02 00:00:00", None]


def test_a_copied_column_never_hides_an_answer(predict, tmp_path):
    for name in ("label", "score", "line", "y0"):
        FRAME.rename_axis(name).to_parquet(tmp_path / "in.parquet")
        run = predict(tmp_path / "in.parquet")
        assert run.exit_code == 2
        assert f"column '{name}' of the input is copied to the output" in run.stderr


def test_errors_are_one_line_that_names_column_and_record(predict, tmp_path):
    FRAME.assign(x0=[0.0, 99.0, 0.0]).to_parquet(tmp_path / "in.parquet")
    run = predict(tmp_path / "in.parquet")
    assert run.exit_code == 2
    assert run.stderr == (
        "error: column 'x0', record 2: the value is outside [-4, 6], the range this model "
        "declares: check its unit, or leave the record out\n"
    )
