"""`blindproof compile`."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from sklearn.datasets import load_wine
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from typer.testing import CliRunner

from blindproof.cli import app
from blindproof.cli.compiling import sample_columns
from protocol.errors import InputError
from server.registry import ModelRegistry


@pytest.fixture(autouse=True)
def wide(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """wine.onnx and wine.csv with a column of classes and one of names."""
    skl2onnx = pytest.importorskip("skl2onnx")
    folder = tmp_path_factory.mktemp("files")
    records, target = load_wine(return_X_y=True, as_frame=True)
    model = make_pipeline(StandardScaler(), LogisticRegression()).fit(records, target)
    converted = skl2onnx.to_onnx(
        model, records.to_numpy(np.float32)[:1], options={LogisticRegression: {"zipmap": False}}
    )
    (folder / "wine.onnx").write_bytes(converted.SerializeToString())
    table = records.assign(cultivar=target, bottle=[f"no. {i}" for i in range(len(target))])
    table.to_csv(folder / "wine.csv", index=False)
    table.to_parquet(folder / "wine.parquet")
    return folder


def run(*arguments: object):
    return CliRunner().invoke(app, ["compile", *map(str, arguments)])


def test_a_file_is_explained_and_published(files, tmp_path):
    result = run(
        files / "wine.onnx",
        *("--sample", files / "wine.csv", "--target", "cultivar", "--local", "bottle"),
        *("--models", tmp_path / "models", "--plot", tmp_path / "wine.svg"),
        *("--save", tmp_path / "wine.json", "--name", "wine", "--licence", "MIT"),
        *("--purpose", "tests", "--plaintext", "ash", "--range", "alcohol=8:20"),
        *("--measured-in", "alcohol=% vol"),
    )
    assert result.exit_code == 0, result.output
    for text in (
        "reading the model",
        "running the integer model on 178 records",
        "wine 1, from wine.onnx: 13 columns",
        "link softmax, labels 0, 1, 2",
        "8 to 20 % vol",
        "in the clear",
        "kept by clients: bottle",
        "accuracy on the sample's 178 records: 100.00%",
        "digest, for clients to pin:",
    ):
        assert text in result.output
    card = ModelRegistry(tmp_path / "models").get(bytes.fromhex(result.output.split()[-1])).card
    assert (card.name, card.purpose, card.local) == ("wine", "tests", ("bottle",))
    assert card.about.licence == "MIT"
    assert dict(card.about.metrics) == {"accuracy on the sample": 1.0}
    assert card.features[card.plaintext_features[0]].name == "ash"
    assert (tmp_path / "wine.svg").stat().st_size > 1000

    again = run(
        tmp_path / "wine.json",
        *("--sample", files / "wine.parquet", "--target", "cultivar", "--local", "bottle"),
        *("--no-explain", "--models", tmp_path / "models"),
    )
    assert "link softmax" not in again.output
    assert again.output.split()[-1] == card.digest.hex()


def test_without_a_directory_nothing_is_published(files):
    result = run(
        files / "wine.onnx",
        *("--sample", files / "wine.parquet", "--local", "bottle", "--local", "cultivar"),
        *("--packing", "single", "--label", "red", "--label", "rosé", "--label", "white"),
    )
    assert result.exit_code == 0, result.output
    assert "labels red, rosé, white" in result.output
    assert result.output.rstrip().endswith("not published; --models says where to")


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--range", "alcohol"), "'alcohol': expected column=value, such as --range age=0:120"),
        (("--range", "alcohol=8-20"), "expected two numbers, such as --range age=0:120"),
        (("--measured-in", "alcohol"), "such as --measured-in age=years"),
        (("--packing", "both"), "packing 'both': expected 'batch', 'single', 'auto'"),
        (("--target", "grape"), "target: the sample has no column 'grape'"),
        (("--plaintext", "grape"), "plaintext: the sample has no column 'grape'"),
        (("--precision", "90"), "90 bits of single precision do not fit any supported ring"),
    ],
)
def test_errors_are_one_line(files, options, message):
    result = run(
        files / "wine.onnx",
        *("--sample", files / "wine.csv", "--local", "bottle"),
        *(() if "--target" in options else ("--local", "cultivar")),
        *options,
    )
    assert result.exit_code == 2
    (line,) = [line for line in result.output.splitlines() if line.startswith("error:")]
    assert message in line


def test_files_that_are_no_models(files, tmp_path):
    for name, content, message in (
        ("model.pkl", b"\x80\x04", "a pickled file runs whatever code it holds"),
        ("model.json", b"[]", "neither an XGBoost model nor a model file"),
        ("model.json", json.dumps({"features": []}).encode(), "model.json: name: missing"),
        ("model.json", json.dumps({"name": "m"}).encode(), "neither XGBoost's JSON"),
        ("model.onnx", b"\x00\x01", "model.onnx"),
    ):
        (tmp_path / name).write_bytes(content)
        result = run(tmp_path / name, "--sample", files / "wine.csv")
        assert result.exit_code == 2, result.output
        assert message in result.output
    result = run(files / "wine.onnx", "--sample", tmp_path / "absent.csv")
    assert "absent.csv: No such file or directory" in result.output
    (tmp_path / "table.parquet").write_bytes(b"no")
    result = run(files / "wine.onnx", "--sample", tmp_path / "table.parquet")
    assert "table.parquet: not a Parquet file" in result.output


def test_cells_are_numbers_where_all_are(tmp_path):
    path = tmp_path / "table.csv"
    with path.open("w", newline="") as stream:
        csv.writer(stream).writerows(
            [["n", "t", "m", "e"], ["1", "a", "1", ""], [" 2.5", "b", "x", " "], ["", "", "3", ""]]
        )
    assert sample_columns(path) == {
        "n": [1.0, 2.5, None],
        "t": ["a", "b", None],
        "m": ["1", "x", "3"],
        "e": [None, None, None],
    }


def test_a_ragged_table_is_refused(tmp_path):
    (tmp_path / "table.csv").write_text("a,b\n1\n")
    with pytest.raises(InputError, match="line 2: 1 cells, the header has 2"):
        sample_columns(tmp_path / "table.csv")
