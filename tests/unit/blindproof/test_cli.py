from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from blindproof.cli import app
from blindproof.cli.predict import read_csv
from protocol.errors import InputError, ShapeError

COMMANDS = ["demo", "models", "params", "predict", "publish", "serve", "verify"]


def run(*arguments: object):
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_every_command_explains_itself():
    assert run("--help").exit_code == 0
    for command in COMMANDS:
        assert command in run("--help").output
        assert run(command, "--help").exit_code == 0


def test_params_shows_both_packings():
    result = run("params", "--features", 30)
    assert result.exit_code == 0
    for text in ("ring degree N", "8192", "batch", "single", "precision", "no-wrap margin"):
        assert text in result.output


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("params", "--features", 30, "--precision", 99), "nearest"),
        (("publish", "--weights", "nothing.json", "--models", "m"), "No such file"),
        (("verify", "nothing.bin", "--model", "00" * 32), "No such file"),
        (("verify", "nothing.bin", "--model", "zz"), "64 hexadecimal digits"),
        (("serve", "--models", "m"), "tls_certificate"),
        (("models", "--target", "127.0.0.1:1", "--ca", "nothing.pem"), "nothing.pem"),
        (("predict", "nothing.csv", "--target", "t", "--model", "m", "--keys", "k"), "nothing.csv"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(arguments, message: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output


def test_publish_prints_the_digest_to_pin(tmp_path):
    weights = tmp_path / "model.json"
    weights.write_text(
        json.dumps(
            {
                "name": "example",
                "features": [{"name": "a", "low": 0, "high": 1}],
                "weights": [0.5],
            }
        )
    )
    result = run("publish", "--weights", weights, "--models", tmp_path / "models")
    assert result.exit_code == 0, result.output
    digest = result.output.split()[-1]
    assert (tmp_path / "models" / digest / "card.bin").exists()


@pytest.mark.parametrize(
    ("content", "error"),
    [
        ("", ShapeError),
        ("a,b\n", ShapeError),
        ("a,b\n1\n", ShapeError),
        ("a,b\n1,2,3\n", ShapeError),
        ("a,b\n1,x\n", ShapeError),
        ('a,b\n1,"2\n', InputError),
    ],
)
def test_a_bad_csv_file_is_an_input_error(tmp_path, content: str, error):
    path = tmp_path / "records.csv"
    path.write_text(content)
    with pytest.raises(error):
        read_csv(path)


def test_a_csv_file_with_a_byte_order_mark_is_read(tmp_path):
    path = tmp_path / "records.csv"
    path.write_bytes(b"\xef\xbb\xbfa,b\r\n1,2\r\n-3.5,1e3\r\n")
    assert read_csv(path) == [{"a": 1.0, "b": 2.0}, {"a": -3.5, "b": 1000.0}]
