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
    assert result.stderr.startswith(f"error: {tmp_path / 'network.json'}: 300 bits of precision do")
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
    assert "network.json: layer 0 (dense): weights of 2 columns for 3 units" in result.stderr


def test_params_shows_a_networks_plan_and_publishes_nothing(tmp_path, weights):
    result = CliRunner().invoke(app, ["params", "--network", str(weights())])
    assert result.exit_code == 0, result.output
    for text in ("limbs dropped", "noise on release", "predicted for up to 4096 records"):
        assert text in result.output
    assert "and a proof of about 220 KiB" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["network.json"]


def error_bound(output: str) -> str:
    """What a plan of one packing says, in the output's own units."""
    (line,) = [line for line in output.splitlines() if line.strip().startswith("error bound")]
    return line.split()[-1]


def test_params_shows_what_publish_makes(tmp_path, weights):
    path = weights()
    for options in ([], ["--packing", "single"]):
        shown = CliRunner().invoke(app, ["params", "--network", str(path), *options])
        assert shown.exit_code == 0, shown.output
        published = publish(tmp_path, path, *options)
        (row,) = [line for line in published.output.splitlines() if line.split()[1:2] == ["8192"]]
        assert error_bound(shown.output) in row.split()
        for line in shown.output.splitlines():
            if line.startswith("predicted"):
                assert line in published.output.splitlines()


def test_params_of_a_network_that_is_a_linear_model(weights):
    dense = layers()[0]
    path = weights(layers=[dense], outputs=[f"y{j}" for j in range(4)])
    result = CliRunner().invoke(app, ["params", "--network", str(path)])
    assert result.exit_code == 0, result.output
    assert "this network is a linear model" in result.output
    assert "batch" in result.output
    assert "single" in result.output


@pytest.mark.parametrize(
    "option", [("--mode", "public"), ("--outputs", "1"), ("--input-bound", "8"), ("--row-l1", "8")]
)
def test_params_takes_nothing_that_the_file_decides(weights, option):
    result = CliRunner().invoke(app, ["params", "--network", str(weights()), *option])
    assert result.exit_code == 2
    assert f"the network's file decides {option[0]}" in result.stderr


def test_a_linear_shape_has_no_packing_to_choose():
    result = CliRunner().invoke(app, ["params", "--features", "3", "--packing", "single"])
    assert result.exit_code == 2
    assert "leave --packing" in result.stderr


UNEVEN = [
    {"kind": "dense", "weights": [[0.9, 0, 0], [0, 1.4 * 2**-14, 0]]},
    {"kind": "square"},
    {"kind": "dense", "weights": [[0, 1]]},
]


@pytest.mark.parametrize("packing", ["batch", "single"])
def test_rounding_that_changes_a_network_is_refused_and_can_be_allowed(
    tmp_path, weights, packing: str
):
    path = weights(layers=UNEVEN)
    refused = publish(tmp_path, path, "--packing", packing)
    assert refused.exit_code == 2
    assert "rounding the weights to 16 bits can change output 'output'" in refused.stderr
    assert not ModelRegistry(tmp_path / "models").load_all()
    allowed = publish(tmp_path, path, "--packing", packing, "--allow-rounding")
    assert allowed.exit_code == 0, allowed.output


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        (
            {"layers": [{"kind": "dense", "weights": [[1e200, 1, 1]]}, *layers()[1:]]},
            "layers.0 (dense), weights.0.0: too large in magnitude",
        ),
        (
            {"layers": [{"kind": "dense", "weights": [[1e-320, 0, 0]] * 4}, *layers()[1:]]},
            "layer 0 (dense): weights of magnitude",
        ),
        (
            {
                "layers": [
                    {"kind": "dense", "weights": [[1e18] * 3] * 4},
                    *[{"kind": "square"}] * 3,
                    layers()[2],
                ]
            },
            "layer 2 (square): its results are large beyond 2^200",
        ),
        (
            {"features": [{"name": name, "low": -1e308, "high": 1e308} for name in "abc"]},
            "features.0.low: too large in magnitude",
        ),
        (
            {"features": [{"name": name, "low": -1, "high": 1, "scale": 1e-308} for name in "abc"]},
            "feature 'a': its range is more than 2^64 times its scale",
        ),
    ],
)
@pytest.mark.parametrize("options", [(), ("--packing", "single"), ("--allow-rounding",)])
def test_absurd_numbers_are_one_line(tmp_path, weights, changes, message: str, options):
    result = publish(tmp_path, weights(**changes), *options)
    assert result.exit_code == 2, result.output
    assert message in result.stderr
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("options", [[], ["--features", "3", "--network", "x.json"]])
def test_params_is_of_one_model(options):
    result = CliRunner().invoke(app, ["params", *options])
    assert result.exit_code == 2
    assert "describe one model" in result.stderr
