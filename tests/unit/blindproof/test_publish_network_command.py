"""`blindproof publish` of a network file."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

from blindproof.cli import app
from server.registry import ModelRegistry


def layers(outputs: int = 1) -> list[dict[str, object]]:
    rng = np.random.default_rng(0)
    return [
        {"kind": "dense", "weights": rng.uniform(-0.5, 0.5, (4, 3)).tolist()},
        {"kind": "square"},
        {"kind": "dense", "weights": rng.uniform(-0.5, 0.5, (outputs, 4)).tolist()},
    ]


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Writes a network file with changes and returns its path."""
    monkeypatch.setenv("COLUMNS", "200")

    def write(**changes: object):
        path = tmp_path / "network.json"
        content = {
            "name": "network",
            "features": [{"name": name, "low": -1, "high": 1} for name in "abc"],
            "layers": layers(),
            **changes,
        }
        path.write_text(json.dumps(content))
        return path

    return write


def publish(tmp_path, path, *options: object):
    arguments = ("publish", "--weights", path, "--models", tmp_path / "models", *options)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_a_network_is_published_as_readily_as_a_linear_model(tmp_path, weights):
    result = publish(tmp_path, weights())
    assert result.exit_code == 0, result.output
    for text in (
        "network 1, private",
        "predicted for up to 4096 records: encrypt",
        "a client enrols 2 keys",
        "rounding the weights changes output 'output', of at most",
    ):
        assert text in result.output
    digest = result.output.split()[-1]
    card = ModelRegistry(tmp_path / "models").get(bytes.fromhex(digest)).card
    assert not card.linear


def test_a_public_network(tmp_path, weights):
    result = publish(tmp_path, weights(mode="public"))
    assert result.exit_code == 0, result.output
    assert "network 1, public" in result.output


def test_more_precision_than_there_is_is_one_line(tmp_path, weights):
    result = publish(tmp_path, weights(), "--precision", 300)
    assert result.exit_code == 2
    assert result.stderr.startswith("error: 300 bits of precision do not fit")
    assert result.stderr.count("\n") == 1


def test_too_many_private_outputs_are_one_line(tmp_path, weights):
    names = [f"y{j}" for j in range(33)]
    result = publish(tmp_path, weights(layers=layers(33), outputs=names))
    assert result.exit_code == 2
    assert "66 enrolled keys, at most 64" in result.stderr


def test_a_layer_that_does_not_fit_is_named(tmp_path, weights):
    wrong = [{"kind": "dense", "weights": [[1, 2]]}]
    result = publish(tmp_path, weights(layers=wrong))
    assert result.exit_code == 2
    assert "layer 0 (dense): weights of 2 columns for 3 units" in result.stderr


def test_params_shows_a_networks_plan_and_publishes_nothing(tmp_path, weights):
    result = CliRunner().invoke(app, ["params", "--network", str(weights())])
    assert result.exit_code == 0, result.output
    for text in ("limbs dropped", "disclosure distance", "predicted for up to 4096 records"):
        assert text in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["network.json"]


@pytest.mark.parametrize("options", [[], ["--features", "3", "--network", "x.json"]])
def test_params_is_of_one_model(options):
    result = CliRunner().invoke(app, ["params", *options])
    assert result.exit_code == 2
    assert "describe one model" in result.stderr
