"""The commands of whoever publishes and serves: publish, params, serve."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from blindproof.cli import app

MODEL = {
    "name": "example",
    "features": [{"name": "a", "low": -1, "high": 1}, {"name": "b", "low": -1, "high": 1}],
    "weights": [0.5, 0.25],
}


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


@pytest.fixture
def weights(tmp_path, monkeypatch):
    """Writes a model file with changes and returns its path."""
    monkeypatch.setenv("COLUMNS", "200")

    def write(**changes: object):
        path = tmp_path / "model.json"
        path.write_text(json.dumps({**MODEL, **changes}))
        return path

    return write


def failed(result) -> str:
    assert result.exit_code == 2, result.output
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    return result.stderr


def test_publish_says_what_rounding_does_to_each_output(tmp_path, weights):
    path = weights(
        weights=[[0.3, 0.1], [0.5, 0.25]], intercept=[0, 0], outputs=["[bold]u[/bold]", "v"]
    )
    result = run("publish", "--weights", path, "--models", tmp_path / "models")
    assert result.exit_code == 0, result.output
    changes = {
        line.split("'")[1]: float(line.split()[-1])
        for line in result.output.splitlines()
        if line.startswith("rounding the weights changes output")
    }
    assert list(changes) == ["[bold]u[/bold]", "v"]
    assert 0 < changes["[bold]u[/bold]"] < 1e-3
    assert changes["v"] == 0


def test_publish_refuses_a_model_that_rounding_changes_unless_told(tmp_path, weights):
    arguments = ("publish", "--weights", weights(weights=[1, 1e-6]), "--models", tmp_path / "m")
    assert "become zero" in failed(run(*arguments))
    assert run(*arguments, "--allow-rounding").exit_code == 0


def test_names_are_not_markup(tmp_path, weights):
    path = weights(name="[red]odd[/nonsense]", purpose="[/]")
    result = run("publish", "--weights", path, "--models", tmp_path / "models")
    assert result.exit_code == 0, result.output
    assert "[red]odd[/nonsense] 1, private" in result.output


def test_a_model_directory_that_is_a_file_is_one_line(tmp_path, weights):
    models = tmp_path / "models"
    models.write_text("")
    result = run("publish", "--weights", weights(), "--models", models)
    assert f"{models}: not a directory" in failed(result)


@pytest.mark.parametrize(
    "arguments",
    [
        ("--row-l1", "nan"),
        ("--row-l1", "inf"),
        ("--row-l1", "1e308"),
        ("--row-l1", "0"),
        ("--input-bound", "nan"),
        ("--input-bound", "1e300"),
        ("--input-bound", "-1"),
        ("--outputs", "1000000000"),
        ("--precision", "nan"),
        ("--precision", "-3"),
    ],
)
def test_params_refuses_what_is_no_model(arguments):
    failed(run("params", "--features", 30, *arguments))


def test_serve_says_what_is_required_and_what_is_the_default(monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = " ".join(run("serve", "--help").output.split())
    assert shown.count("(required)") == 4
    for text in ("127.0.0.1:50443", "default: (blindproof)", "The server's name, bound into"):
        assert text in shown


@pytest.mark.parametrize("port", ["70000", "", "x"])
def test_serve_checks_its_address(tmp_path, port: str):
    result = run(
        "serve",
        f"--listen=localhost:{port}",
        "--tls-certificate=c",
        "--tls-key=k",
        "--models=m",
        "--state=s",
    )
    assert "expected host:port" in failed(result)
