"""`blindproof publish` of a network for single records."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from blindproof.cli import app
from protocol.parameters import Packing
from server.registry import ModelRegistry

NETWORK = {
    "name": "example",
    "features": [{"name": name, "low": -1, "high": 1} for name in "abc"],
    "layers": [
        {"kind": "dense", "weights": [[0.5, -0.25, 0.5], [0.1, 0.9, -0.4]], "bias": [0.1, 0.2]},
        {"kind": "square"},
        {"kind": "dense", "weights": [[0.75, -0.5]], "bias": [0.3]},
    ],
}


@pytest.fixture
def publish(tmp_path, monkeypatch):
    """Runs the command on a network with other layers, if given, and options."""
    monkeypatch.setenv("COLUMNS", "200")

    def run(*options: str, **changes: object):
        path = tmp_path / "model.json"
        path.write_text(json.dumps({**NETWORK, **changes}))
        models = str(tmp_path / "models")
        return CliRunner().invoke(
            app, ["publish", "--weights", str(path), "--models", models, *options]
        )

    return run


def published(tmp_path):
    (summary,) = ModelRegistry(tmp_path / "models").load_all()
    return ModelRegistry(tmp_path / "models").get(summary.digest).card


def test_a_network_is_multiplied_out_when_asked(publish, tmp_path):
    result = publish("--packing", "single")
    assert result.exit_code == 0, result.output
    assert "multiplied out: 9 monomials of 3 features" in result.output
    assert "the commitment is to their coefficients" in result.output
    assert "predicted for one record: 0.066 s in all; 128.0 KiB up" in result.output
    assert "and a proof of about 150 KiB" in result.output
    assert "2^32 x key-dependent errors" in result.output
    assert "rounding the coefficients changes output 'output' by at most" in result.output
    card = published(tmp_path)
    assert len(card.expansion) == 9
    assert [profile.packing for profile in card.profiles] == [Packing.SINGLE]


def test_a_public_one_commits_to_nothing_and_has_no_proof(publish):
    result = publish("--packing", "single", mode="public")
    assert result.exit_code == 0, result.output
    assert "the card lists their coefficients" in result.output
    assert "128.0 KiB up, 128.0 KiB down" in result.output


@pytest.mark.parametrize(("records", "packing"), [("1", "single"), ("4000", "batch")])
def test_the_packing_is_chosen_and_explained(publish, tmp_path, records, packing):
    result = publish("--records", records)
    assert result.exit_code == 0, result.output
    (explanation,) = [line for line in result.output.splitlines() if "one by one" in line]
    assert explanation.startswith(f"{packing}: {records} record")
    assert bool(published(tmp_path).expansion) == (packing == "single")


def test_a_network_with_too_many_monomials_is_refused_and_nothing_stored(publish, tmp_path):
    names = [f"x{k}" for k in range(30)]
    row = [0.01] * 30
    result = publish(
        "--packing",
        "single",
        features=[{"name": name, "low": -1, "high": 1} for name in names],
        layers=[
            {"kind": "dense", "weights": [row, row]},
            {"kind": "square"},
            {"kind": "dense", "weights": [[1, 1]]},
            {"kind": "square"},
            {"kind": "dense", "weights": [[1]]},
        ],
    )
    assert result.exit_code == 2, result.output
    assert "46,375 monomials of degree 4" in result.stderr
    assert "batch packing" in result.stderr
    assert not ModelRegistry(tmp_path / "models").load_all()
