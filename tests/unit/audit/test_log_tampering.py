"""A log whose file was changed behind its back, against what was kept elsewhere."""

from __future__ import annotations

import shutil
import sqlite3
from dataclasses import replace

import pytest

from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.database import open_engine
from audit.errors import LogStateError
from audit.head import Head
from audit.keys import SigningKey
from audit.log import AuditLog
from audit.log_check import check_log
from audit.merkle import leaf_hash
from audit.signed_receipt import SignedReceipt, sign_receipt
from tests.reference import merkle_log
from tests.unit.audit.example_receipts import LOG, LOG_KEY, ORIGIN, SERVER, numbered

SIZE = 21
EDITED = 9


def receipts(start, stop):
    return [numbered(number) for number in range(start, stop)]


def reopened(path, pinned=None):
    engine = open_engine(f"sqlite:///{path}")
    try:
        return AuditLog.open(engine, ORIGIN, pinned)
    finally:
        engine.dispose()


def checked(path, *kept, server_key=None):
    engine = open_engine(f"sqlite:///{path}")
    try:
        return check_log(engine, LOG_KEY, kept=kept, server_key=server_key)
    finally:
        engine.dispose()


@pytest.fixture
def path(tmp_path):
    return written(tmp_path / "audit.db", receipts(0, SIZE))


@pytest.fixture
def checkpoint(path):
    """As someone else keeps it."""
    head = checked(path)
    return sign_checkpoint(Checkpoint(ORIGIN, head.size, head.root), LOG).encoded()


def written(path, signed):
    engine = open_engine(f"sqlite:///{path}")
    AuditLog.open(engine, ORIGIN).append(signed)
    engine.dispose()
    return path


def execute(path, *statements):
    connection = sqlite3.connect(path)
    with connection:
        for statement, *values in statements:
            changed = connection.execute(statement, values).rowcount
            assert changed != 0, statement
    connection.close()


def edited(number):
    """The receipt with another outcome, signed by the server, which may be who cheats."""
    original = numbered(number).receipt
    return sign_receipt(replace(original, actor="ward-8"), SERVER)


@pytest.mark.accepts("C-98")
def test_an_untouched_log_is_accepted(path, checkpoint):
    assert checked(path, checkpoint, server_key=SERVER.public).size == SIZE
    assert reopened(path).head() == checked(path)


EDIT = ("UPDATE audit_entries SET data = ? WHERE position = ?", edited(EDITED).entry(), EDITED)
EDIT_LEAF = (
    "UPDATE audit_entries SET leaf = ? WHERE position = ?",
    edited(EDITED).leaf,
    EDITED,
)
TAMPERING = {
    "edit": [EDIT],
    "edit and leaf": [EDIT, EDIT_LEAF],
    "leaf only": [EDIT_LEAF],
    "node": [("UPDATE audit_nodes SET hash = ? WHERE number = 3", bytes(32))],
    "node removed": [("DELETE FROM audit_nodes WHERE number = 3",)],
    "node added": [("INSERT INTO audit_nodes VALUES (4096, ?)", bytes(32))],
    "delete": [("DELETE FROM audit_entries WHERE position = 9",)],
    "delete the last": [("DELETE FROM audit_entries WHERE position = ?", SIZE - 1)],
    "delete and close the gap": [
        ("DELETE FROM audit_entries WHERE position = 9",),
        ("UPDATE audit_entries SET position = -position WHERE position > 9",),
        ("UPDATE audit_entries SET position = -position - 1 WHERE position < 0",),
        ("UPDATE audit_head SET size = ?", SIZE - 1),
    ],
    "reorder": [
        ("UPDATE audit_entries SET position = -1 WHERE position = 9",),
        ("UPDATE audit_entries SET position = 9 WHERE position = 10",),
        ("UPDATE audit_entries SET position = 10 WHERE position = -1",),
    ],
    "insert": [
        (
            """INSERT INTO audit_entries
            SELECT position + 1, leaf, data, x'00', tenant, x'00', time_ns, actor, purpose,
            subject, action, outcome, reason, model FROM audit_entries WHERE position = ?""",
            SIZE - 1,
        )
    ],
    "filed under another receipt": [
        ("UPDATE audit_entries SET receipt_id = x'00' WHERE position = 9",)
    ],
    "filed under another tenant": [
        ("UPDATE audit_entries SET tenant = 'other' WHERE position = 9",)
    ],
    "filed under another request": [
        ("UPDATE audit_entries SET idempotency_digest = NULL WHERE position = 9",)
    ],
    "root": [("UPDATE audit_head SET root = ?", bytes(32))],
    "size": [("UPDATE audit_head SET size = 20",)],
    "no head": [("DELETE FROM audit_head",)],
    "everything": [
        ("DELETE FROM audit_entries",),
        ("DELETE FROM audit_nodes",),
        ("DELETE FROM audit_head",),
    ],
}


@pytest.mark.rejects("C-98")
@pytest.mark.parametrize("statements", TAMPERING.values(), ids=TAMPERING)
def test_changes_inside_are_found_without_any_checkpoint(path, statements):
    execute(path, *statements)
    with pytest.raises(LogStateError):
        checked(path)


@pytest.mark.rejects("C-98")
@pytest.mark.parametrize(
    "name", ["delete the last", "insert", "root", "size", "everything", "delete and close the gap"]
)
def test_what_shows_at_the_end_of_the_log_stops_it_at_once(path, name):
    pinned = checked(path)
    execute(path, *TAMPERING[name])
    with pytest.raises(LogStateError):
        reopened(path, pinned)


@pytest.mark.rejects("C-98")
def test_an_edited_entry_is_neither_read_nor_proved(path):
    execute(path, EDIT)
    log = reopened(path)
    with pytest.raises(LogStateError, match="not what was recorded"):
        log.entry(EDITED)
    with pytest.raises(LogStateError, match="not what was recorded"):
        list(log.entries())
    execute(path, EDIT_LEAF)
    with pytest.raises(LogStateError, match="filed under another actor"):
        log.entry(EDITED)
    execute(path, ("UPDATE audit_entries SET actor = 'ward-8' WHERE position = ?", EDITED))
    assert log.entry(EDITED).receipt() == edited(EDITED)  # it agrees with itself, and yet:
    with pytest.raises(LogStateError, match="cannot prove"):
        log.inclusion_proof(EDITED)
    with pytest.raises(LogStateError, match="cannot prove"):
        log.inclusion_proof(EDITED ^ 1)


REWRITES = {
    "edit": lambda signed: [*signed[:EDITED], edited(EDITED), *signed[EDITED + 1 :]],
    "delete": lambda signed: signed[:EDITED] + signed[EDITED + 1 :],
    "reorder": lambda signed: [signed[1], signed[0], *signed[2:]],
    "truncate": lambda signed: signed[:-1],
    "fork": lambda signed: [*signed[:15], *receipts(50, 60)],
    "empty": lambda _: [],
}


@pytest.mark.rejects("C-98")
@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_a_consistent_rewrite_is_found_by_a_checkpoint_from_elsewhere(
    path, checkpoint, tmp_path, rewrite
):
    old = checked(path)
    fake = written(tmp_path / "fake.db", rewrite(receipts(0, SIZE)))
    checked(fake)  # from inside, nothing is wrong
    with pytest.raises(LogStateError):
        checked(fake, checkpoint)
    with pytest.raises(LogStateError):
        reopened(fake, old)
    with pytest.raises(LogStateError):
        reopened(fake, old).append(receipts(90, 91))


@pytest.mark.rejects("C-98")
@pytest.mark.parametrize("rewrite", REWRITES.values(), ids=REWRITES)
def test_a_running_log_refuses_the_rewrite_of_its_file(path, tmp_path, rewrite):
    engine = open_engine(f"sqlite:///{path}")
    log = AuditLog.open(engine, ORIGIN)
    fake = written(tmp_path / "fake.db", rewrite(receipts(0, SIZE)))
    for file in tmp_path.glob("audit.db*"):
        file.unlink()
    shutil.copy(fake, path)
    with pytest.raises(LogStateError):
        log.append(receipts(90, 91))
    with pytest.raises(LogStateError):
        log.checkpoint(LOG)
    engine.dispose()


@pytest.mark.rejects("C-98")
def test_an_old_copy_that_was_put_back_is_refused(path, checkpoint, tmp_path):
    engine = open_engine(f"sqlite:///{path}")
    log = AuditLog.open(engine, ORIGIN)
    engine.dispose()
    shutil.copy(path, tmp_path / "old.db")
    newer = log.append(receipts(30, 33))
    for file in tmp_path.glob("audit.db*"):
        file.unlink()
    shutil.copy(tmp_path / "old.db", path)
    with pytest.raises(LogStateError, match="truncated, or an old copy"):
        log.append(receipts(40, 41))
    engine.dispose()
    with pytest.raises(LogStateError, match="truncated, or an old copy"):
        reopened(path, newer)
    # Extended until it is as large again, it is another history.
    written(path, receipts(60, 70))
    with pytest.raises(LogStateError, match="another history"):
        reopened(path, newer)
    assert checked(path, checkpoint).size == SIZE + 10  # which the older checkpoint cannot know


@pytest.mark.rejects("C-98")
def test_a_kept_checkpoint_that_was_exchanged_is_found(path):
    other = sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(32)), LOG).encoded()
    forged = sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(32)), SigningKey.generate()).encoded()
    for note in (other, forged, b"no note"):
        execute(path, ("INSERT OR REPLACE INTO audit_checkpoints VALUES (3, ?)", note))
        with pytest.raises(LogStateError):
            checked(path)
        with pytest.raises(LogStateError):  # nor does the log sign another one beside it
            reopened(path).checkpoint(LOG)


@pytest.mark.rejects("C-98")
def test_receipts_of_another_server_are_found(path):
    with pytest.raises(LogStateError, match="not a receipt of this server"):
        checked(path, server_key=bytes(32))


@pytest.mark.rejects("C-98")
def test_a_checkpoint_from_the_future_is_not_met(path):
    future = sign_checkpoint(Checkpoint(ORIGIN, SIZE + 1, bytes(32)), LOG).encoded()
    with pytest.raises(LogStateError):
        checked(path, future)


@pytest.mark.parametrize(
    "planted",
    [
        "UPDATE audit_entries SET data = CAST(data AS TEXT) WHERE position = 3",
        "UPDATE audit_entries SET tenant = CAST(tenant AS BLOB) WHERE position = 3",
        "UPDATE audit_head SET size = size + 0.5",
        "UPDATE audit_nodes SET hash = 'abc' WHERE number = 1",
        "INSERT INTO audit_checkpoints VALUES (3, 'text')",
        "INSERT INTO audit_countersignatures VALUES (x'00', 'text', x'00')",
        "INSERT INTO audit_objects VALUES ('request', x'00', 't', 'text', 1, 1, 0, NULL)",
        "INSERT INTO audit_objects VALUES ('request', x'00', 't', x'00', 1, 1, 0, 'text')",
    ],
)
@pytest.mark.rejects("C-98")
def test_a_value_of_another_type_is_found_and_no_crash(path, planted):
    execute(path, (planted,))
    with pytest.raises(LogStateError, match="of another type"):
        checked(path)


@pytest.mark.parametrize(
    "planted",
    [
        ("CREATE TRIGGER t AFTER INSERT ON Audit_Objects BEGIN DELETE FROM audit_objects; END",),
        (
            "ALTER TABLE audit_objects RENAME TO hidden",
            "CREATE VIEW audit_objects AS SELECT * FROM hidden WHERE kind <> 'request'",
        ),
    ],
)
@pytest.mark.rejects("C-98")
def test_planted_triggers_and_views_are_found(path, planted):
    execute(path, *((statement,) for statement in planted))
    with pytest.raises(LogStateError, match="that no log makes"):
        checked(path)


@pytest.mark.parametrize("column", ["size", "root", "schema_version"])
@pytest.mark.rejects("C-98")
def test_a_head_of_another_type_is_refused(path, column):
    execute(path, (f"UPDATE audit_head SET {column} = 'text'",))  # noqa: S608 -- from this list
    with pytest.raises(LogStateError):
        reopened(path)


@pytest.mark.rejects("C-98")
def test_a_second_head_is_found(path):
    execute(
        path,
        ("INSERT INTO audit_head SELECT 0, schema_version, origin, 1, root FROM audit_head",),
    )
    with pytest.raises(LogStateError, match="holds no log"):
        checked(path)


def test_the_reference_agrees_with_the_head(path):
    leaves = [leaf_hash(one.entry()) for one in receipts(0, SIZE)]
    assert checked(path) == Head(SIZE, merkle_log.head(leaves))
    assert SignedReceipt.from_entry(numbered(1).entry()) == numbered(1)
