"""The command line against a real server."""

from __future__ import annotations

import csv
import json
import stat
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from blindproof.cli import app
from blindproof.demo.cheats import Cheat
from blindproof.loopback import server_thread
from blindproof.publishing import publish_linear
from client_sdk import KeyStore, verify_evidence
from protocol.features import Category, Feature, Thermometer
from protocol.graph import Dense, Graph, square
from server.registry import ModelRegistry
from tests.integration.conftest import PASSPHRASE, World
from tests.integration.example_models import (
    exact_values,
    linear_model,
    network_bundle,
    network_profile,
    network_values,
    records,
)


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


def test_a_network_is_enrolled_asked_and_verified_like_any_model(world: World, tmp_path, arguments):
    served = network_bundle(
        Graph(3, (Dense(0, 4), square(1), Dense(2, 1))), network_profile(3, 60, 101)
    )
    world.models["a network for the command line"] = served
    ModelRegistry(world.settings.models).publish(served)
    model, evidence = f"--model={served.digest.hex()}", tmp_path / "evidence.bin"
    rest = [option for option in arguments[1:] if not option.startswith("--model")]
    enrolled = CliRunner().invoke(app, ["enrol", model, *rest])
    assert enrolled.exit_code == 0, enrolled.output
    result = CliRunner().invoke(
        app, ["predict", arguments[0], model, *rest, f"--evidence={evidence}"]
    )
    assert result.exit_code == 0, result.output
    assert f"under the key {enrolled.stdout.strip()}" in result.stderr
    rows = list(csv.DictReader(result.stdout.splitlines()))
    values = np.array([[float(row["y0"])] for row in rows])
    assert np.abs(values - network_values(served, records(5))).max() < 1e-5
    verified = CliRunner().invoke(app, ["verify", str(evidence), model])
    assert verified.exit_code == 0, verified.output


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
    assert [row["line"] for row in rows] == ["2", "3", "4", "5", "6"]
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    assert stat.S_IMODE(evidence.stat().st_mode) == 0o600
    assert [row["label"] for row in rows] == ["yes" if value > 0 else "no" for value in exact[:, 0]]

    verified = CliRunner().invoke(
        app, ["verify", str(evidence), f"--model={world.models['private'].digest.hex()}"]
    )
    assert verified.exit_code == 0, verified.output
    key = verified.stdout.split("under the key ")[1].split()[0]
    assert f"under the key {key}" in result.stderr
    assert "give its digest as --key" in verified.stdout
    refused = CliRunner().invoke(
        app, ["verify", str(evidence), f"--model={world.models['public'].digest.hex()}"]
    )
    assert refused.exit_code == 2
    assert "pinned model digest mismatch" in refused.stderr
    assert "the evidence holds" in refused.stderr

    for pinned, status in ((key, 0), ("00" * 32, 2)):
        checked = CliRunner().invoke(
            app,
            [
                "verify",
                str(evidence),
                f"--model={world.models['private'].digest.hex()}",
                f"--key={pinned}",
            ],
        )
        assert checked.exit_code == status, checked.output
        assert "give its digest" not in checked.stdout
    assert checked.stderr == f"error: evidence under the key {key}, expected {pinned}\n"


def test_predict_writes_json_or_to_standard_output(tmp_path, arguments):
    output = tmp_path / "out.json"
    result = CliRunner().invoke(app, ["predict", *arguments, f"--output={output}"])
    assert result.exit_code == 0, result.output
    document = json.loads(output.read_text())
    assert [row["line"] for row in document["predictions"]] == [2, 3, 4, 5, 6]
    assert set(document["predictions"][0]) == {"line", "y0", "label", "score"}
    assert all(key in result.stderr for key in document["keys"])
    assert stat.S_IMODE(output.stat().st_mode) == 0o600
    shown = CliRunner().invoke(app, ["predict", *arguments])
    assert shown.stdout.splitlines()[0] == "line,y0,label,score"
    assert len(shown.stdout.splitlines()) == 6


def test_categories_missing_values_and_the_clients_own_columns(world: World, tmp_path, arguments):
    card = publish_linear(
        world.settings.models,
        replace(
            linear_model(),
            name="columns",
            features=(
                Feature("age", 0.0, 100.0, 50.0, 50.0, missing=25.0),
                Thermometer("steps", 0.0, 9.0, (2.0, 5.0)),
                Category("colour", ("blue", "red")),
            ),
            weights=np.array([[1.0, 0.5, 0.25, -1.0, 2.0]]),
            intercept=np.array([0.5]),
            labels=("0", "1"),
            integer_labels=True,
            local=("patient",),
        ),
        mode="public",
    )
    path, output = tmp_path / "mixed.csv", tmp_path / "out.json"
    path.write_text("patient,colour,steps,age\n007,red,3,100\n,blue,1.5,\n")
    rest = [option for option in arguments[1:] if not option.startswith("--model")]
    options = [f"--model={card.digest.hex()}", *rest]
    result = CliRunner().invoke(app, ["predict", str(path), *options, f"--output={output}"])
    assert result.exit_code == 0, result.output
    first, second = json.loads(output.read_text())["predictions"]
    assert list(first) == ["line", "patient", "y0", "label", "score"]
    assert (first["line"], first["patient"], first["label"]) == (2, "007", 1)
    assert (second["line"], second["patient"], second["label"]) == (3, "", 0)
    assert first["y0"] == pytest.approx(4.0, abs=1e-3)
    assert second["y0"] == pytest.approx(-1.0, abs=1e-3)
    assert second["score"] == pytest.approx(1 / (1 + np.e), abs=1e-3)

    path.write_text("colour,steps,age\ngreen,3,100\n")
    refused = CliRunner().invoke(app, ["predict", str(path), *options])
    assert refused.exit_code == 2
    assert "column 'colour', line 2: none of the categories" in refused.stderr
    assert "green" not in refused.output


def test_json_says_which_answers_it_holds_as_verify_does(world: World, tmp_path, arguments):
    output, evidence = tmp_path / "out.json", tmp_path / "evidence.bin"
    predicted = CliRunner().invoke(
        app, ["predict", *arguments, f"--output={output}", f"--evidence={evidence}"]
    )
    assert predicted.exit_code == 0, predicted.output
    (request,) = json.loads(output.read_text())["requests"]
    verified = CliRunner().invoke(
        app, ["verify", str(evidence), f"--model={world.models['private'].digest.hex()}"]
    )
    assert f"    outputs digest {request['outputs_digest']}" in verified.stdout.splitlines()
    (answer,) = verify_evidence(evidence, world.models["private"].digest)
    assert answer.request_id.hex() == request["id"]


def test_a_recomputed_answer_has_no_soundness_and_no_key(world: World, tmp_path, arguments):
    """A public model's single record: JSON has no infinity."""
    model = f"--model={world.models['public'].digest.hex()}"
    rest = [option for option in arguments[1:] if not option.startswith("--model")]
    output, evidence = tmp_path / "out.json", tmp_path / "evidence.bin"
    options = ["--packing=single", f"--output={output}", f"--evidence={evidence}"]
    predicted = CliRunner().invoke(app, ["predict", arguments[0], model, *rest, *options])
    assert predicted.exit_code == 0, predicted.output
    assert "recomputed, no error" in predicted.stderr
    assert "under no key: the model is public" in predicted.stderr

    def refused(constant: str) -> None:
        pytest.fail(f"{constant} is no JSON")

    document = json.loads(output.read_text(), parse_constant=refused)
    assert document["soundness_bits"] is None
    assert document["keys"] == []
    verified = CliRunner().invoke(app, ["verify", str(evidence), model])
    assert verified.exit_code == 0, verified.output
    assert "recomputed, no error" in verified.stdout
    pinned = CliRunner().invoke(app, ["verify", str(evidence), model, f"--key={'00' * 32}"])
    assert pinned.exit_code == 2
    assert pinned.stderr == "error: a public model's answers are under no key: pin none\n"


def test_a_cell_that_is_no_number_is_named_by_its_column(arguments):
    path = Path(arguments[0])
    path.write_text("x0,x1,x2\n1,2,3\n1,many,3\n")
    result = CliRunner().invoke(app, ["predict", *arguments])
    assert result.exit_code == 2
    assert result.stderr == "error: column 'x1', line 3: not a decimal number\n"


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
    monkeypatch.setenv("COLUMNS", "80")
    result = CliRunner().invoke(app, ["models", f"--target={world.address}", f"--ca={world.ca}"])
    assert result.exit_code == 0, result.output
    for bundle in world.models.values():
        assert bundle.digest.hex() in result.output.splitlines()


def test_what_cannot_be_written_is_noticed_before_anything_is_sent(world: World, arguments):
    for option in ("--output", "--evidence"):
        result = CliRunner().invoke(app, ["predict", *arguments, f"{option}=/no/such/place.bin"])
        assert result.exit_code == 2
        assert "no directory /no/such" in result.stderr
        assert result.stderr.count("\n") == 1
    assert not Path(arguments[3].removeprefix("--keys=")).exists()


def test_a_file_without_its_header_is_refused_without_being_shown(arguments):
    path = Path(arguments[0])
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))
    value = path.read_text().split(",")[0]
    result = CliRunner().invoke(app, ["predict", *arguments])
    assert result.exit_code == 2
    assert "is there a header line?" in result.stderr
    assert value not in result.stderr


def test_enrol_prints_the_key_that_keys_shows_and_predict_uses(arguments, monkeypatch):
    monkeypatch.setenv("COLUMNS", "80")
    enrolled = CliRunner().invoke(app, ["enrol", *arguments[1:]])
    assert enrolled.exit_code == 0, enrolled.output
    digest = enrolled.stdout.strip()
    assert len(bytes.fromhex(digest)) == 32
    shown = CliRunner().invoke(app, ["keys", arguments[3]])
    assert digest in shown.stdout.splitlines()
    assert "at 'test server': 1 public keys" in shown.stdout
    predicted = CliRunner().invoke(app, ["predict", *arguments])
    assert f"under the key {digest}" in predicted.stderr
    rotated = CliRunner().invoke(app, ["keys", arguments[3], "--rotate"])
    assert rotated.exit_code == 0
    assert digest not in rotated.stdout


def test_keys_shows_the_key_of_receipts_and_forgets_logs_and_pseudonyms(arguments, tmp_path):
    store = arguments[3]
    receipt = tmp_path / "receipt.json"
    asked = CliRunner().invoke(
        app, ["predict", *arguments, "--subject=MRN 4711", f"--receipt={receipt}"]
    )
    assert asked.exit_code == 0, asked.output
    client = json.loads(receipt.read_text())["receipt"]["client"]["public_key"]
    shown = CliRunner().invoke(app, ["keys", store])
    assert f"signs receipts    {client}" in shown.stdout.splitlines()

    erased = CliRunner().invoke(app, ["keys", store, "--erase-pseudonyms=default"])
    assert erased.exit_code == 0, erased.output
    again = CliRunner().invoke(app, ["keys", store, "--erase-pseudonyms=default"])
    assert again.exit_code == 2
    assert "no pseudonyms of tenant 'default'" in again.stderr

    address = arguments[1].removeprefix("--target=")
    opened = KeyStore(Path(store.removeprefix("--keys=")))
    assert opened.known_log(address) is not None
    forgotten = CliRunner().invoke(app, ["keys", store, f"--forget-log={address}"])
    assert forgotten.exit_code == 0, forgotten.output
    assert KeyStore(Path(store.removeprefix("--keys="))).known_log(address) is None


def test_identities_may_be_given(arguments):
    wrong = CliRunner().invoke(app, ["predict", *arguments, "--server-id=another"])
    assert wrong.exit_code == 2
    assert "the server calls itself 'test server'" in wrong.stderr
    named = CliRunner().invoke(
        app, ["predict", *arguments, "--server-id=test server", "--client-id=clinic seven"]
    )
    assert named.exit_code == 0, named.output
    assert "clinic seven" in CliRunner().invoke(app, ["keys", arguments[3]]).stdout


def test_a_certified_client_goes_by_its_common_name(world: World, tmp_path, arguments, monkeypatch):
    """At a server with mutual TLS, which lets nobody use another name."""
    monkeypatch.setenv("COLUMNS", "200")
    certificate, key = world.authority.issue(tmp_path, "clinic eight")
    settings = world.settings.model_copy(
        update={"tls_client_ca": world.ca, "state": tmp_path / "state"}
    )
    with server_thread(settings) as address:
        options = [*arguments[1:], f"--certificate={certificate}", f"--certificate-key={key}"]
        options[0] = f"--target={address}"
        predicted = CliRunner().invoke(app, ["predict", arguments[0], *options])
        assert predicted.exit_code == 0, predicted.output
        listed = CliRunner().invoke(app, ["models", options[0], *options[3:]])
        assert listed.exit_code == 0, listed.output
        assert world.models["private"].digest.hex() in listed.stdout
        refused = CliRunner().invoke(
            app, ["predict", arguments[0], *options, "--client-id=clinic seven"]
        )
        assert refused.exit_code == 2
    assert "clinic eight" in CliRunner().invoke(app, ["keys", arguments[3]]).stdout
