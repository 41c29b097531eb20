"""The command line against a real server."""

from __future__ import annotations

import csv
import json

import numpy as np
import pytest
from typer.testing import CliRunner

from blindproof.cli import app
from blindproof.demo.cheats import Cheat
from tests.integration.conftest import PASSPHRASE, World
from tests.integration.example_models import exact_values, records


@pytest.fixture
def arguments(world: World, tmp_path, monkeypatch) -> list[str]:
    world.engine.cheat = Cheat.NONE
    monkeypatch.setenv("BLINDPROOF_PASSPHRASE", PASSPHRASE)
    with (tmp_path / "records.csv").open("w", newline="") as stream:
        writer = csv.writer(stream)
        writer.writerow(["x0", "x1", "x2"])
        writer.writerows(records(5).tolist())
    return [
        str(tmp_path / "records.csv"),
        f"--target={world.address}",
        f"--model={world.models['private'].digest.hex()}",
        f"--keys={tmp_path / 'keys'}",
        f"--ca={world.ca}",
    ]


def test_predict_writes_csv_and_evidence_that_verify_accepts(world: World, tmp_path, arguments):
    output, evidence = tmp_path / "out.csv", tmp_path / "evidence.bin"
    result = CliRunner().invoke(
        app, ["predict", *arguments, f"--output={output}", f"--evidence={evidence}"]
    )
    assert result.exit_code == 0, result.output
    assert "soundness" in result.stderr
    with output.open(newline="") as stream:
        rows = list(csv.DictReader(stream))
    values = np.array([[float(row["y0"])] for row in rows])
    exact = exact_values(world.models["private"], records(5))
    assert np.abs(values - exact).max() < 1e-5
    assert [row["label"] for row in rows] == ["yes" if value > 0 else "no" for value in exact[:, 0]]

    verified = CliRunner().invoke(
        app, ["verify", str(evidence), f"--model={world.models['private'].digest.hex()}"]
    )
    assert verified.exit_code == 0, verified.output
    refused = CliRunner().invoke(
        app, ["verify", str(evidence), f"--model={world.models['public'].digest.hex()}"]
    )
    assert refused.exit_code == 2
    assert "pinned model digest mismatch" in refused.stderr


def test_predict_writes_json_or_to_standard_output(tmp_path, arguments):
    output = tmp_path / "out.json"
    result = CliRunner().invoke(app, ["predict", *arguments, f"--output={output}"])
    assert result.exit_code == 0, result.output
    assert len(json.loads(output.read_text())["predictions"]) == 5
    shown = CliRunner().invoke(app, ["predict", *arguments])
    assert shown.stdout.splitlines()[0] == "y0,label,score"
    assert len(shown.stdout.splitlines()) == 6


def test_a_cheating_server_is_one_line_and_exit_code_2(world: World, arguments):
    world.engine.cheat = Cheat.OTHER_MODEL
    try:
        result = CliRunner().invoke(app, ["predict", *arguments])
    finally:
        world.engine.cheat = Cheat.NONE
    assert result.exit_code == 2
    assert result.stderr.startswith("error: proof refused by the check")
    assert result.stdout == ""


def test_models_lists_what_is_served(world: World, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = CliRunner().invoke(app, ["models", f"--target={world.address}", f"--ca={world.ca}"])
    assert result.exit_code == 0, result.output
    for bundle in world.models.values():
        assert bundle.digest.hex() in result.output
