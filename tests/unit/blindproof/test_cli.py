from __future__ import annotations

import io
import json
import os
import subprocess
import sys

import numpy as np
import pytest
from rich.console import Console
from typer.testing import CliRunner

import blindproof
from blindproof import loopback
from blindproof.cli import app
from blindproof.tables import new_table
from client_sdk import KeyStore
from client_sdk.keystore import Ring
from fhe_layers.moduli import modulus_chain
from server.settings import ServerSettings
from wire.models import ModelList

COMMANDS = [
    "demo",
    "enrol",
    "keys",
    "models",
    "params",
    "predict",
    "publish",
    "serve",
    "verify",
]


PREDICT = ("predict", "records.csv", "--target=127.0.0.1:1", f"--model={'00' * 32}", "--keys=keys")


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
        (
            ("verify", "letter.txt", "--model", "00" * 32, "--key", "00"),
            "a key digest has 32 bytes, found 1",
        ),
        (
            ("verify", "letter.txt", "--model", "00" * 32, "--key", "none"),
            "a key digest is 64 hexadecimal digits",
        ),
        (("verify", "letter.txt", "--model", "00" * 32), "letter.txt is not an evidence file"),
        (("keys", "--keys", "nowhere"), "nowhere is not a key store"),
        (("keys", "--keys", "letter.txt"), "letter.txt is not a key store"),
        (("enrol", "--target", "t", "--model", "00" * 32, "--keys", "letter.txt"), "letter.txt"),
        (
            ("models", "--target", "127.0.0.1:1", "--certificate", "letter.txt"),
            "together, or neither",
        ),
        ((*PREDICT, "--output", "no/such/place.csv"), "no directory no/such"),
        ((*PREDICT, "--evidence", "no/such/place.bin"), "no directory no/such"),
        ((*PREDICT, "--output", "."), "not a regular file"),
        (("serve", "--models", "m"), "tls_certificate"),
        (("models", "--target", "127.0.0.1:1", "--ca", "nothing.pem"), "nothing.pem"),
        (("predict", "nothing.csv", "--target", "t", "--model", "m", "--keys", "k"), "nothing.csv"),
    ],
)
def test_an_error_is_one_line_and_exit_code_2(arguments, message: str, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("BLINDPROOF_PASSPHRASE", "passphrase")
    (tmp_path / "letter.txt").write_text("dear sir")
    (tmp_path / "records.csv").write_text("a,b\n1,2\n")
    result = run(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert "Traceback" not in result.output
    assert not (tmp_path / "keys").exists()


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


def test_the_version_is_shown():
    result = run("--version")
    assert result.exit_code == 0
    assert result.output == f"blindproof {blindproof.__version__}\n"


def test_a_file_error_of_the_system_is_one_line(monkeypatch):
    def full(*arguments: object, **options: object) -> None:
        raise OSError(28, "No space left on device", "keys/secrets.bin")

    monkeypatch.setattr("client_sdk.KeyStore", full)
    result = run("keys", "--keys", "keys")
    assert result.exit_code == 2
    assert result.stderr == "error: keys/secrets.bin: No space left on device\n"


@pytest.mark.parametrize("command", ["predict", "enrol", "models"])
def test_commands_that_talk_to_a_server_can_show_a_certificate(command: str, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    shown = run(command, "--help").output
    for option in ("--ca", "--certificate", "--certificate-key"):
        assert option in shown
    if command != "models":
        assert "--client-id" in shown
        assert "--server-id" in shown
        assert "keys and proofs are bound" in " ".join(shown.split())


def test_the_command_line_keeps_grpc_quiet_before_it_is_loaded(repository_root):
    code = (
        "import os, sys, blindproof.cli; "
        "print(os.environ['GRPC_VERBOSITY'], {'grpc', 'tenseal'} & set(sys.modules))"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code],
        cwd=repository_root,
        env={name: text for name, text in os.environ.items() if name != "GRPC_VERBOSITY"},
        capture_output=True,
        check=True,
        text=True,
    )
    assert shown.stdout == "NONE set()\n"


def test_tables_show_markup_as_text_and_drop_control_characters():
    table = new_table("[red]title[/red]", "[b]column[/b]")
    table.add_row("[link=x]cell[/link] [/]\x1b[31m\x07")
    console = Console(width=80, file=io.StringIO(), force_terminal=False)
    console.print(table)
    shown = console.file.getvalue()
    for text in ("[red]title[/red]", "[b]column[/b]", "[link=x]cell[/link] [/][31m"):
        assert text in shown
    assert "\x1b" not in shown
    assert "\x07" not in shown


def test_a_server_process_does_not_get_the_passphrase(tmp_path, monkeypatch):
    monkeypatch.setenv("BLINDPROOF_PASSPHRASE", "secret")
    settings = ServerSettings(
        tls_certificate=tmp_path / "c", tls_key=tmp_path / "k", models=tmp_path, state=tmp_path
    )
    environment = loopback._environment(settings)
    assert "BLINDPROOF_PASSPHRASE" not in environment
    assert "secret" not in environment.values()
    assert environment["BLINDPROOF_MODELS"] == str(tmp_path)


def test_keys_shows_a_store_and_rotates_it(tmp_path, monkeypatch):
    monkeypatch.setenv("BLINDPROOF_PASSPHRASE", "passphrase")
    store = KeyStore(tmp_path / "keys")
    ring, secret = Ring(4096, modulus_chain(4096, 1)[0]), np.zeros(4096, dtype=np.int8)
    epoch = store.snapshot(ring, lambda: secret).epoch
    store.count_disclosure(1234, epoch)
    shown = run("keys", "--keys", tmp_path / "keys")
    assert shown.exit_code == 0, shown.output
    assert store.client_id in shown.stdout
    assert "1,234 of 4,194,304" in shown.stdout
    rotated = run("keys", "--keys", tmp_path / "keys", "--rotate")
    assert rotated.exit_code == 0, rotated.output
    assert store.client_id in rotated.stdout
    assert " 0 of 4,194,304" in rotated.stdout
    assert store.snapshot(ring, lambda: secret).epoch != epoch


def test_a_server_that_offers_nothing_says_none(monkeypatch):
    monkeypatch.setattr("client_sdk.list_models", lambda *_, **__: ModelList("clinic", ()))
    shown = run("models", "--target=server:1")
    assert (shown.exit_code, shown.stdout) == (0, "Models of 'clinic'\nnone\n")


@pytest.mark.parametrize("command", [("publish",), ("withdraw",), ("audit", "read")])
def test_commands_without_a_key_store_promise_no_memory_of_a_log(command, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    text = " ".join(run(*command, "--help").stdout.split())
    assert "--log-key" in text
    assert "first met with" not in text
