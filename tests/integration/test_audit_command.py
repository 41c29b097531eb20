"""`blindproof audit` beside a running server, and away from it."""

from __future__ import annotations

import json
import shutil
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from audit.receipt_json import receipt_from_json
from audit.signed_note import NoteKey
from blindproof.cli import app
from blindproof.demo.altered_exports import Alteration, altered
from blindproof.local_server import LocalServer
from blindproof.publishing import LinearModel
from client_sdk import RequestError
from protocol.features import Privacy
from tests.integration.example_models import linear_model, records

OK, FAILED, UNUSABLE = 0, 1, 2


def run(*arguments: object) -> object:
    result = CliRunner().invoke(app, ["audit", *map(str, arguments)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result


def text_of(*arguments: object, code: int = OK) -> str:
    result = run(*arguments)
    assert result.exit_code == code, result.output
    return result.output


@dataclass
class Clinic:
    """A server that has answered: a batch, a single record, one with columns in clear."""

    server: LocalServer
    state: Path
    model: str
    receipts: list[str]
    row: np.ndarray

    @property
    def key(self) -> str:
        return self.server.log_key

    def copied(self, to: Path) -> Path:
        """The state as a thief of the disk would have it; SQLite's files belong together."""
        return Path(shutil.copytree(self.state, to))


def model_with_plaintext() -> LinearModel:
    """Its first column travels in clear."""
    model = linear_model(name="mixed")
    first, *others = model.features
    return replace(model, features=(replace(first, privacy=Privacy.PLAINTEXT), *others))


@pytest.fixture(scope="module")
def clinic() -> Iterator[Clinic]:
    with LocalServer() as server:
        card = server.publish(linear_model())
        row = records(1, seed=9)
        results = []
        for model, given in (
            (server.model(card, actor="ward-7", purpose="TREAT"), records(3)),
            (server.model(card, actor="ward-7", purpose="TREAT"), records(1)),
            (server.model(server.publish(model_with_plaintext()), actor="ward-8"), row),
        ):
            model.predict(given)
            results.append(model.last_result)
        with pytest.raises(RequestError):
            server.model(card, tenant="another").predict(records(1))
        yield Clinic(
            server,
            server._state,
            results[0].model_digest.hex(),
            [result.receipt.signed.receipt.receipt_id.hex() for result in results],
            row,
        )


@pytest.fixture
def export(clinic: Clinic, tmp_path: Path) -> Path:
    clinic.server.export_audit(tmp_path / "trail.zip", plaintext=True)
    return tmp_path / "trail.zip"


@pytest.mark.accepts("C-99")
def test_an_export_verifies_from_the_file_and_the_key_alone(clinic, tmp_path):
    shown = text_of(
        "export",
        "--state",
        clinic.state,
        "--out",
        tmp_path / "a.zip",
        "--all",
        "--include-plaintext",
    )
    assert clinic.key in shown
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    file = shutil.move(tmp_path / "a.zip", elsewhere)
    reports = [elsewhere / f"report.{kind}" for kind in ("html", "json", "txt")]
    options = [part for path in reports for part in ("--report", path)]
    shown = text_of("verify", file, "--log-key", clinic.key, "--strict", *options)
    assert shown.startswith("Everything in this file was checked and holds.")
    assert "proof: 3 passed" in shown
    assert all(path.stat().st_size for path in reports)
    content = json.loads(reports[1].read_text())
    assert content["verdict"] == "passed"
    assert {one["receipt_id"] for one in content["receipts"]} >= set(clinic.receipts)


def test_the_verifier_needs_neither_database_nor_server(export, clinic):
    """In a fresh interpreter: what is not imported cannot be relied on."""
    program = (
        "import sys\n"
        "from blindproof.cli import app\n"
        "try:\n"
        f"    app(['audit', 'verify', {str(export)!r}, '--log-key', {clinic.key!r}])\n"
        "except SystemExit as done:\n"
        "    assert not done.code, done.code\n"
        "names = {name.partition('.')[0] for name in sys.modules}\n"
        "assert not names & {'sqlalchemy', 'server', 'tenseal'}, sorted(names)\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


@pytest.mark.rejects("C-99")
def test_exit_codes_tell_failures_from_unusable_files(clinic, export, tmp_path):
    other = tmp_path / "other.zip"
    other.write_bytes(altered(export.read_bytes(), Alteration.OUTPUT))
    shown = text_of("verify", other, "--log-key", clinic.key, code=FAILED)
    assert shown.startswith("Something does not hold.")
    assert "another digest of the output" in shown
    other.write_bytes(export.read_bytes()[:-1])
    assert "error: not an export" in text_of(
        "verify", other, "--log-key", clinic.key, code=UNUSABLE
    )
    text_of("verify", tmp_path / "none", "--log-key", clinic.key, code=UNUSABLE)
    text_of("verify", export, "--log-key", "no key", code=UNUSABLE)
    text_of("verify", export, "--log-key", clinic.key, "--model", "12", code=UNUSABLE)
    shown = text_of(
        "verify", export, "--log-key", clinic.key, "--report", tmp_path / "a.pdf", code=UNUSABLE
    )
    assert "*.html" in shown
    stranger = NoteKey("another.log", NoteKey.decoded(clinic.key).public).encoded()
    shown = text_of("verify", export, "--log-key", stranger, "--without-proofs", code=FAILED)
    assert "an export of the log" in shown


def test_what_was_not_checked_fails_on_demand_only(clinic, tmp_path):
    text_of("export", "--state", clinic.state, "--out", tmp_path / "a.zip", "--all")
    assert clinic.row[0, :1].tobytes() not in (tmp_path / "a.zip").read_bytes()
    shown = text_of("verify", tmp_path / "a.zip", "--log-key", clinic.key)
    assert "not everything was checked" in shown
    assert "columns in clear were not exported" in shown
    text_of("verify", tmp_path / "a.zip", "--log-key", clinic.key, "--strict", code=FAILED)


def test_pins_are_compared(clinic, export):
    shown = text_of(
        "verify",
        export,
        "--log-key",
        clinic.key,
        "--model",
        clinic.model,
        "--without-proofs",
        code=FAILED,
    )
    assert "none of the models given" in shown
    shown = text_of(
        "verify",
        export,
        "--log-key",
        clinic.key,
        "--client-key",
        "00" * 32,
        "--without-proofs",
        code=FAILED,
    )
    assert "none of the keys given" in shown


def test_receipts_are_chosen_by_id_or_by_what_they_say(clinic, tmp_path):
    for options, count in (
        (["--receipt", clinic.receipts[0], "--receipt", clinic.receipts[2]], 2),
        (["--actor", "ward-7", "--action", "predict", "--outcome", "answered"], 2),
        (["--outcome", "denied"], 1),
        (["--purpose", "TREAT", "--model", clinic.model, "--since", "2020-01-01"], 2),
        (["--until", "2020-01-01T00:00:00", "--tenant", "default"], 0),
    ):
        shown = text_of("export", "--state", clinic.state, "--out", tmp_path / "a.zip", *options)
        assert shown.startswith(f"{count} receipts"), shown
        text_of("verify", tmp_path / "a.zip", "--log-key", clinic.key, "--without-proofs")
    for options in ([], ["--all", "--actor", "ward-7"], ["--all", "--receipt", "00" * 16]):
        shown = text_of(
            "export", "--state", clinic.state, "--out", tmp_path / "b.zip", *options, code=UNUSABLE
        )
        assert "choose receipts" in shown
    shown = text_of(
        "export",
        "--state",
        clinic.state,
        "--out",
        tmp_path / "b.zip",
        "--receipt",
        "00" * 16,
        code=UNUSABLE,
    )
    assert "no entry for receipt" in shown
    text_of(
        "export",
        "--state",
        clinic.state,
        "--out",
        tmp_path / "b.zip",
        "--outcome",
        "good",
        code=UNUSABLE,
    )
    text_of(
        "export",
        "--state",
        clinic.state,
        "--out",
        tmp_path / "b.zip",
        "--cosigned",
        "--receipt",
        "00" * 16,
        code=UNUSABLE,
    )
    assert not (tmp_path / "b.zip").exists()


def test_a_checkpoint_that_was_kept_elsewhere_is_extended(clinic, tmp_path):
    older = tmp_path / "older"
    text_of("checkpoint", "--state", clinic.state, "--out", older)
    model = clinic.server.model(clinic.model, actor="ward-9")
    model.predict(records(1))
    out = ["--out", tmp_path / "a.zip", "--actor", "ward-9"]
    text_of("export", "--state", clinic.state, *out, "--since-checkpoint", older)
    verify = ["verify", tmp_path / "a.zip", "--log-key", clinic.key, "--without-proofs"]
    assert "the log only grew" in text_of(*verify, "--checkpoint", older)
    text_of("export", "--state", clinic.state, *out)
    model.predict(records(1))
    printed = text_of("checkpoint", "--state", clinic.state)
    newer = tmp_path / "newer"
    newer.write_text(printed)
    shown = text_of(*verify, "--checkpoint", newer, code=FAILED)
    assert "export again" in shown
    wrong = tmp_path / "receipt.json"
    wrong.write_text("{}")
    for command in (verify, ["fsck", "--state", clinic.state]):
        assert "is not a checkpoint" in text_of(*command, "--checkpoint", wrong, code=UNUSABLE)


def test_a_cosigned_checkpoint_is_the_kept_one(clinic, tmp_path):
    text_of("checkpoint", "--state", clinic.state)
    kept = text_of("checkpoint", "--state", clinic.state, "--cosigned")
    clinic.server.model(clinic.model, actor="ward-10").predict(records(1))
    shown = text_of(
        "export",
        "--state",
        clinic.state,
        "--out",
        tmp_path / "a.zip",
        "--actor",
        "ward-10",
        "--cosigned",
        "--without-objects",
    )
    assert f"0 receipts and 0 objects under the checkpoint of {kept.splitlines()[1]} ent" in shown


def test_witnesses_that_did_not_sign_are_missed(clinic, export, tmp_path):
    entries = []
    for number in range(2):
        made = CliRunner().invoke(
            app,
            [
                "witness",
                "keys",
                "--state",
                str(tmp_path / f"w{number}"),
                "--name",
                f"witness.example/{number}",
                "--no-bls",
            ],
        )
        entries.append(tmp_path / f"entry{number}")
        entries[-1].write_text(made.output)
    policy = tmp_path / "policy.json"
    made = CliRunner().invoke(app, ["witness", "policy", *map(str, entries), "--threshold", "2"])
    policy.write_text(made.output)
    shown = text_of(
        "verify",
        export,
        "--log-key",
        clinic.key,
        "--witnesses",
        policy,
        "--without-proofs",
        code=FAILED,
    )
    assert "0 of 2 witnesses have signed, 2 must: export with --cosigned" in shown


def test_search_shows_lines_or_json(clinic):
    lines = text_of("search", "--state", clinic.state, "--actor", "ward-7", "--action", "predict")
    title, *rows = lines.splitlines()
    assert title.split() == ["entry", "time", "receipt", "what", "purpose", "model", "actor"]
    found = [row for row in rows if "answered" in row]
    assert [row.split()[4] for row in found] == clinic.receipts[:2]
    output = text_of("search", "--state", clinic.state, "--newest-first", "--limit", "2", "--json")
    first, second = map(json.loads, output.splitlines())
    assert first["index"] == second["index"] + 1
    del first["index"]
    receipt_from_json(json.dumps(first, indent=2) + "\n")
    nothing = text_of("search", "--state", clinic.state, "--reason", "none-such", "--json")
    assert nothing == ""


def test_tail_follows_a_running_server(clinic):
    assert (
        len(text_of("tail", "--state", clinic.state, "--no-follow", "--lines", "2").splitlines())
        == 2
    )
    assert text_of("tail", "--state", clinic.state, "--no-follow", "--lines", "0") == ""
    command = ["-m", "blindproof", "audit", "tail", "--state", str(clinic.state), "--lines", "1"]
    with subprocess.Popen(
        [sys.executable, *command, "--interval", "0.05", "--json"],
        stdout=subprocess.PIPE,
        text=True,
    ) as process:
        try:
            assert process.stdout is not None
            before = json.loads(process.stdout.readline())
            clinic.server.model(clinic.model, actor="ward-11").predict(records(1))
            after = json.loads(process.stdout.readline())
            assert after["index"] == before["index"] + 1
            assert (after["actor"], after["action"]) == ("ward-11", "predict")
        finally:
            process.terminate()


def test_key_prints_what_clients_pin(clinic):
    assert text_of("key", "--state", clinic.state).strip() == clinic.key
    assert NoteKey.decoded(clinic.key).name == "blindproof/local-trial"


def test_fsck_finds_a_whole_trail_whole(clinic, tmp_path):
    kept = tmp_path / "kept"
    text_of("checkpoint", "--state", clinic.state, "--out", kept)
    shown = text_of("fsck", "--state", clinic.state, "--proofs", "--checkpoint", kept)
    assert "extends 1 checkpoints from elsewhere" in shown
    assert [line.split()[:2] for line in shown.splitlines()] == [
        ["ok", "log:"],
        ["ok", "archive:"],
        ["ok", "answers:"],
    ]


@pytest.mark.rejects("C-98")
def test_fsck_finds_what_was_altered(clinic, tmp_path):
    kept = tmp_path / "kept"
    old = clinic.copied(tmp_path / "old")
    clinic.server.model(clinic.model).predict(records(1))
    text_of("checkpoint", "--state", clinic.state, "--out", kept)
    # An older copy that was put back is whole in itself.
    text_of("fsck", "--state", old)
    shown = text_of("fsck", "--state", old, "--checkpoint", kept, code=FAILED)
    assert "truncated, or an old copy" in shown
    # Objects that were exchanged are all there, and whole; but they are others.
    with sqlite3.connect(old / "audit.db") as connection:
        rows = connection.execute(
            "SELECT name, address, size FROM audit_objects WHERE kind = 'response' AND name IN "
            "(SELECT receipt_id FROM audit_entries WHERE actor = 'ward-7')"
        ).fetchall()
        (first, *place), (second, *other) = rows[:2]
        for name, (address, size) in ((first, other), (second, place)):
            connection.execute(
                "UPDATE audit_objects SET address = ?, size = ? "
                "WHERE kind = 'response' AND name = ?",
                (address, size, name),
            )
    connection.close()
    text_of("fsck", "--state", old)
    shown = text_of("fsck", "--state", old, "--deep", code=FAILED)
    assert shown.count("request and answer: the response answers another request") == 2
    # An object that is damaged, and an entry.
    victim = next(path for path in (old / "archive").rglob("*") if path.is_file())
    victim.chmod(0o600)
    victim.write_bytes(victim.read_bytes()[:-1])
    assert "is damaged" in text_of("fsck", "--state", old, code=FAILED)
    with sqlite3.connect(old / "audit.db") as connection:
        connection.execute("UPDATE audit_entries SET actor = 'ward-0' WHERE actor = 'ward-8'")
    connection.close()
    assert "FAILED  log: entry" in text_of("fsck", "--state", old, code=FAILED)


@pytest.mark.parametrize(
    "command",
    [
        ["key"],
        ["search"],
        ["tail", "--no-follow"],
        ["fsck"],
        ["checkpoint"],
        ["export", "--all", "--out", "out.zip"],
    ],
    ids=lambda command: command[0],
)
def test_nothing_is_made_where_there_is_no_trail(clinic, tmp_path, monkeypatch, command):
    empty = tmp_path / "empty"
    empty.mkdir()
    monkeypatch.chdir(empty)
    name, *options = command
    for state in (empty, empty / "none"):
        shown = text_of(name, "--state", state, *options, code=UNUSABLE)
        assert "no audit trail" in shown
    url = f"sqlite:///{empty / 'other.db'}"
    shown = text_of(name, "--state", clinic.state, "--database", url, *options, code=UNUSABLE)
    assert "no audit trail" in shown
    if name in {"fsck", "export"}:
        place = ["--archive", empty / "nowhere"]
        shown = text_of(name, "--state", clinic.state, *place, *options, code=UNUSABLE)
        assert "no archive" in shown
    assert list(empty.iterdir()) == []


@pytest.mark.timeout(120)
def test_reading_goes_on_while_the_server_writes(clinic, tmp_path):
    model = clinic.server.model(clinic.model, actor="busy")
    started = time.monotonic()
    for number in range(3):
        model.predict(records(1))
        clinic.server.export_audit(tmp_path / f"{number}.zip")
        text_of("fsck", "--state", clinic.state)
    assert time.monotonic() - started < 60
    verify = ["--log-key", clinic.key, "--without-proofs"]
    for number in range(3):
        text_of("verify", tmp_path / f"{number}.zip", *verify)
