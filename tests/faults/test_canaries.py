"""Personal data planted in requests, searched for in everything that a server leaves behind.

Planted are numbers in encrypted columns and in columns that travel in clear, and names, record
numbers and mail addresses as subjects, as columns of the client's own table, as identities and in
requests that are refused or break off.
"""

from __future__ import annotations

import asyncio
import base64
import csv
import json
import sqlite3
import zipfile
from dataclasses import dataclass, field, replace
from pathlib import Path
from random import Random

import numpy as np
import pytest
import zstandard
from typer.testing import CliRunner, Result

from audit.archive import ObjectKind
from audit.fhir import audit_event
from audit.receipt import Action, Outcome
from blindproof.cli import app
from client_sdk import Client, KeyStore
from client_sdk.records import RawRecords
from protocol.accountability import Account
from protocol.errors import RangeError
from protocol.parameters import Mode
from server.events import UNIDENTIFIED
from server.registry import ModelBundle, ModelRegistry
from server.settings import ServerSettings
from tests.adversarial.plaintext_scenario import COLUMNS, OPEN_COLUMNS, mixed_bundle, mixed_records
from tests.faults.asking import Prepared, Question, asked, channel
from tests.faults.canaries import Scanner, forms
from tests.faults.collector import collecting, fetched, free_address
from tests.faults.forked import ForkedServer, Forks
from tests.faults.ledger import opened
from tests.faults.stage import PASSPHRASE, Stage
from wire import rpc
from wire.archived import decode_archived_request
from wire.inference import encode_request
from wire.rpc import Reason

NAME = "Wilhelmina Quackenbush"
NUMBER = "MRN-48151623-4278"
MAIL = "w.quackenbush@hospital.example"
TEXTS = (NAME, NUMBER, MAIL)
ENCRYPTED = -2.718281828459
OPEN = (47.36912345678, 3.33377712345, 61.80339887498)
"""Of the columns age, dose and stay."""
OUTSIDE = 92.71828182845
"""Of the column age, whose range ends below."""
NUMBERS = (ENCRYPTED, *OPEN, OUTSIDE)
CANARIES = (*TEXTS, *NUMBERS)


NUMERIC = (1, 4, 5)
"""Columns in clear that are numbers: of the values in `OPEN`."""


def planted(count: int) -> np.ndarray:
    """Records whose first is that of the person."""
    raw = mixed_records(count)
    raw[0, [0, *NUMERIC]] = (ENCRYPTED, *OPEN)
    return raw


@dataclass
class Leavings:
    """What is left of a server that was asked about a person.

    Attributes:
        settings: whose state is scanned.
        files: of the client, receipts and exports.
        printed: what was printed, raised and logged, by name.
        reasons, refused: for which calls were refused; how many were, or broke off.
        told: to operators: metrics, traces, lines of the log.
    """

    settings: ServerSettings
    files: Path
    printed: dict[str, str]
    reasons: set[str | None]
    refused: int = 0
    told: dict[str, bytes] = field(default_factory=dict)


@pytest.fixture(scope="module")
def leavings(stage: Stage, servers: Forks, tmp_path_factory: pytest.TempPathFactory) -> Leavings:
    """Everything is asked of one server, which is then killed: nothing is tidied up."""
    home = tmp_path_factory.mktemp("canaries")
    models = {mode: mixed_bundle(mode) for mode in Mode}
    registry = ModelRegistry(home / "models")
    for bundle in models.values():
        registry.publish(bundle)
    (home / "files").mkdir()
    settings = stage.settings.model_copy(
        update={
            "models": home / "models",
            "state": home / "state",
            "idle_seconds": 2.0,
            "metrics": free_address(),
        }
    )
    found = Leavings(settings, home / "files", {}, set())
    keys = KeyStore(found.files / "keys", passphrase=PASSPHRASE)
    with (
        collecting() as collector,
        servers.running(
            settings.model_copy(update={"traces": collector.url}), log=found.files / "server.log"
        ) as server,
    ):
        for mode, bundle in models.items():
            with Client(
                server.address, model=bundle.digest, keys=keys, ca=stage.ca, purpose="TREAT"
            ) as client:
                prepared = _predict(client, found, mode)
            _ask_wrongly(server, stage, prepared, found)
        _use_commands(server, stage, models[Mode.PRIVATE], found, home)
        found.told["metrics"] = fetched(str(settings.metrics))
        collector.await_spans("blindproof.v1.InferenceService/Infer", len(Mode) * 3 + found.refused)
        found.told["traces"] = b"".join(collector.bodies)
    found.told["log"] = (found.files / "server.log").read_bytes()
    return found


def _predict(client: Client, found: Leavings, mode: Mode) -> Prepared:
    """Ask about the person under every name there is, save the receipts, and be refused once."""
    for count, packing, subject in ((3, "batch", NUMBER), (1, "single", NAME), (2, "batch", MAIL)):
        result = client.predict(RawRecords(planted(count)), packing, subject=subject)
        result.save_receipt(found.files / f"{mode}-{packing}-{count}.json")
        found.printed[f"result {mode} {packing} {count}"] = repr(result) + repr(result.receipt)
    outside = planted(1)
    outside[0, 1] = OUTSIDE
    with pytest.raises(RangeError) as caught:
        client.predict(RawRecords(outside), subject=NAME)
    found.printed[f"range {mode}"] = repr(caught.value)
    return Prepared.of(result.evidence[0])


def _ask_wrongly(server: ForkedServer, stage: Stage, prepared: Prepared, found: Leavings) -> None:
    """Requests that are refused for what their header says, or that break off half-way."""
    random = Random(20260109)
    whole = prepared.question(random)
    named = replace(whole.request, client_id=f"{NAME} <{MAIL}>", server_id="another server")
    wrong = [
        _with_header(whole, prepared, named),
        _with_header(whole, prepared, whole.request, Account(actor=MAIL)),
        _with_header(whole, prepared, whole.request, Account(tenant=NUMBER)),
        _with_header(whole, prepared, whole.request, Account(purpose=NUMBER)),
        replace(whole, header=whole.header + _unknown_field(NAME.encode())),
        replace(whole, header=NAME.encode()),
        replace(prepared.question(random), body=whole.body[: len(OPEN_COLUMNS)]),
        replace(prepared.question(random), body=whole.body[:1]),
    ]
    for exchange in asked(server.address, stage.ca.read_bytes(), wrong):
        assert exchange.messages == []
        found.reasons.add(exchange.reason)
        found.refused += 1

    async def break_off() -> None:
        for cancel in (True, False):
            connection = channel(server.address, stage.ca.read_bytes())
            call = connection.stream_stream(rpc.INFER.path)(timeout=10)
            await call.write(prepared.question(random).header)
            await call.initial_metadata()
            for column in prepared.body[: len(OPEN_COLUMNS)]:
                await call.write(column)
            if cancel:
                call.cancel()
            else:
                await call.code()
                found.reasons.add(dict(await call.trailing_metadata())[rpc.REASON_METADATA])
            found.refused += 1
            await connection.close()

    asyncio.run(break_off())


def _with_header(
    question: Question, prepared: Prepared, request, account: Account | None = None
) -> Question:
    return replace(question, header=next(encode_request(request, prepared.inputs, account)))


def _unknown_field(data: bytes) -> bytes:
    """Field 99 of a message, with a length."""
    return b"\x9a\x06" + bytes([len(data)]) + data


def _use_commands(
    server: ForkedServer, stage: Stage, bundle: ModelBundle, found: Leavings, home: Path
) -> None:
    """Predict from tables, then export, verify, search and print the log."""
    table, named, headless = (home / f"{name}.csv" for name in ("plain", "named", "headless"))
    rows = []
    for row in planted(2):
        ward, group = COLUMNS[2].categories[int(row[2])], COLUMNS[3].categories[int(row[3])]
        rows.append([row[0], row[1], ward, group, *row[4:]])
    names = [column.name for column in COLUMNS]
    for path, content in (
        (table, [names, *rows]),
        (named, [[*names, "name", "record", "mail"], *([*row, *TEXTS] for row in rows)]),
        (headless, [[*row, *TEXTS] for row in rows]),
    ):
        with path.open("w", newline="") as stream:
            csv.writer(stream).writerows(content)
    variables = {"BLINDPROOF_PASSPHRASE": PASSPHRASE}
    runner = CliRunner(env=variables)

    def run(*arguments: object, fails: bool = False) -> Result:
        result = runner.invoke(app, [str(argument) for argument in arguments])
        assert (result.exit_code != 0) == fails, result.output
        found.printed[f"{len(found.printed)} {arguments[:2]}"] = result.output
        return result

    connection = (
        f"--target={server.address}",
        f"--model={bundle.digest.hex()}",
        f"--keys={found.files / 'keys'}",
        f"--ca={stage.ca}",
    )
    receipt = f"--receipt={found.files / 'command.json'}"
    run("predict", table, *connection, f"--subject={NAME}", receipt)
    run("predict", table, *connection, f"--actor={MAIL}", fails=True)
    run("predict", named, *connection, fails=True)
    run("predict", headless, *connection, fails=True)
    state = f"--state={found.settings.state}"
    with opened(found.settings.state) as trail:
        key = trail.log_key.encoded()
        for entry in trail.log.entries():
            event = json.dumps(audit_event(entry.receipt()))
            (found.files / f"{entry.index}.fhir.json").write_text(event)
    run("audit", "search", state)
    run("audit", "fsck", state)
    run("audit", "export", state, "--all", f"--out={found.files / 'trail.zip'}")
    run("audit", "export", state, "--all", "--include-plaintext", f"--out={home / 'clear.zip'}")
    run("audit", "verify", found.files / "trail.zip", f"--log-key={key}",
        f"--report={found.files / 'report.html'}")  # fmt: skip


@pytest.mark.accepts("C-101")
def test_no_canary_is_in_what_server_client_and_auditor_leave_behind(leavings: Leavings):
    scanner = Scanner(CANARIES)
    found = scanner.tree(leavings.settings.state) + scanner.tree(leavings.files)
    for where, text in leavings.printed.items():
        found += scanner.bytes(where, text.encode())
    assert found == []
    ways, size = len(forms(NAME)) + len(forms(ENCRYPTED)), scanner.scanned_bytes / 1e6
    print(f"\n{len(CANARIES)} canaries in {ways} forms: 0 in {size:.0f} MB")  # noqa: T201


@pytest.mark.accepts("C-101")
def test_operators_are_told_of_nobody(leavings: Leavings):
    """Not who asked, about whom, under which id or key; nor any number that was asked about."""
    secrets: list[str | float | bytes] = [*CANARIES, PASSPHRASE]
    state = leavings.settings.state
    secrets += [path.read_bytes() for path in (state / "server.secret", state / "audit.key")]
    with opened(state) as trail:
        for entry in trail.log.entries():
            receipt = entry.receipt().receipt
            secrets += [receipt.actor, receipt.request_id]
            secrets += filter(None, [receipt.subject, receipt.digests.key])
            secrets += filter(None, [receipt.idempotency_digest])
    assert len(secrets) > 50
    scanner = Scanner(set(secrets) - {UNIDENTIFIED})
    for where, data in leavings.told.items():
        assert len(data) > 1000
        assert scanner.bytes(where, data) == []


@pytest.mark.accepts("C-101")
def test_no_secret_is_anywhere_but_in_its_own_file(leavings: Leavings):
    state = leavings.settings.state
    own = [state / "server.secret", state / "audit.key", *(state / "sealing").iterdir()]
    scanner = Scanner([path.read_bytes() for path in own])
    assert {(found.where, found.form) for found in scanner.tree(state)} == {
        (str(path), "bytes") for path in own
    }
    assert scanner.tree(leavings.files) == []
    assert Scanner([PASSPHRASE]).tree(leavings.files) == []
    for where, text in leavings.printed.items():
        assert scanner.bytes(where, text.encode()) == []


def test_what_was_scanned_is_what_it_should_be(leavings: Leavings):
    """The scan would mean nothing if the calls had not been made, or had left nothing."""
    state, files = leavings.settings.state, leavings.files
    assert {path.name for path in state.iterdir()} >= {
        "audit.db", "audit.db-wal", "audit.key", "archive", "sealing", "keys", "server.secret",
    }  # fmt: skip
    assert (files / "server.log").stat().st_size > 1000
    assert leavings.reasons >= {
        Reason.IDENTITY_REFUSED, Reason.MALFORMED, Reason.REQUEST_REFUSED, Reason.TOO_SLOW,
    }  # fmt: skip
    with opened(state) as trail:
        receipts = [entry.receipt().receipt for entry in trail.log.entries()]
    assert {receipt.outcome for receipt in receipts} == set(Outcome)
    assert {receipt.action for receipt in receipts} == {Action.PREDICT, Action.ENROL_KEY}
    assert {receipt.reason for receipt in receipts} >= leavings.reasons
    refused = [receipt for receipt in receipts if receipt.outcome is not Outcome.ANSWERED]
    assert len(refused) == leavings.refused  # those that broke off too
    assert any(receipt.subject for receipt in receipts)


@pytest.mark.rejects("C-101")
def test_the_scan_finds_what_the_archive_has_sealed_once_it_is_opened(leavings: Leavings):
    scanner = Scanner(OPEN)
    with opened(leavings.settings.state) as trail:
        answered = [
            entry.receipt().receipt.receipt_id
            for entry in trail.log.entries()
            if entry.receipt().receipt.outcome is Outcome.ANSWERED
            and entry.receipt().receipt.action is Action.PREDICT
        ]
        assert len(answered) >= 7
        for name in answered:
            kept = trail.archive.find(ObjectKind.REQUEST, name)
            assert kept is not None
            assert kept.sealed
            assert scanner.bytes("sealed", trail.archive.store.get(kept.address)) == []
            messages = decode_archived_request(trail.archive.read(ObjectKind.REQUEST, name))
            found = scanner.bytes("opened", b"".join(messages))
            assert {(one.canary, one.form) for one in found} >= {
                (value, "little-endian double") for value in OPEN
            }


@pytest.mark.rejects("C-101")
def test_the_scan_finds_columns_in_clear_in_an_export_that_was_to_have_them(leavings: Leavings):
    found = Scanner(CANARIES).file(leavings.files.parent / "clear.zip")
    assert {one.canary for one in found} == set(OPEN)


@pytest.mark.parametrize("canary", CANARIES, ids=str)
def test_the_scan_finds_every_form_of_a_canary(tmp_path: Path, canary: str | float):
    scanner = Scanner([canary])
    for name, data in forms(canary).items():
        assert name in {one.form for one in scanner.bytes("here", b"before " + data + b" after")}
    text = str(canary).encode()
    for lead in range(3):
        encoded = base64.b64encode(b"x" * lead + text + b" and more")
        assert scanner.bytes("base64", encoded)
    assert scanner.bytes("compressed", zstandard.compress(text))


def test_the_scan_looks_into_files_databases_containers_and_names(tmp_path: Path):
    scanner = Scanner([NAME, ENCRYPTED])
    (tmp_path / "plain").write_bytes(b"... " + NAME.encode() + b" ...")
    (tmp_path / f"{NAME}.txt").touch()
    with zipfile.ZipFile(tmp_path / "container.zip", "w", zipfile.ZIP_DEFLATED) as container:
        container.writestr("member", f"{NAME} " * 100)
    connection = sqlite3.connect(tmp_path / "some.db")
    with connection:
        connection.execute("CREATE TABLE cells (number REAL, long BLOB)")
        # Too long for one page, so that it is not in one piece.
        filler = bytes(range(256)) * 15
        connection.execute("INSERT INTO cells VALUES (?, ?)", (ENCRYPTED, filler + NAME.encode()))
    connection.close()
    found = scanner.tree(tmp_path)
    assert {Path(one.where).name for one in found} == {
        "plain", f"{NAME}.txt", "container.zip:member", "some.db",
    }  # fmt: skip
    assert {one.canary for one in found if one.where.endswith("some.db")} == {NAME, ENCRYPTED}


def test_the_scan_finds_nothing_where_nothing_is():
    scanner = Scanner(CANARIES)
    assert scanner.bytes("noise", np.random.default_rng(1).bytes(1 << 22)) == []
    assert scanner.bytes("others", b"Wilhelmina Quackenbus, w.quackenbush@hospital") == []
