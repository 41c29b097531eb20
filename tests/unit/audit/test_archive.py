"""Objects and their rows, over both databases."""

from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import event, select, text, update

from audit.archive import Archive, ObjectKind
from audit.database import open_engine, writing, writing_sessions
from audit.errors import (
    ArchiveUnavailableError,
    LogStateError,
    LogUnavailableError,
    ObjectDamagedError,
    ObjectErasedError,
    ObjectMissingError,
)
from audit.log import AuditLog
from audit.object_store import FileStore
from audit.schema import objects
from tests.unit.audit.example_receipts import ORIGIN, numbered

NAME = b"n" * 16
PLAIN = b"age=71;smoker=1"


def record(archive, *kept):
    with writing_sessions(archive.engine)() as session:
        archive.record_within(session, kept)
        session.commit()


def test_an_object_is_found_by_kind_and_name_once_it_is_recorded(archive):
    kept = archive.keep(ObjectKind.REQUEST, NAME, b"data", tenant="clinic")
    assert archive.find(ObjectKind.REQUEST, NAME) is None
    with pytest.raises(ObjectMissingError):
        archive.read(ObjectKind.REQUEST, NAME)
    record(archive, kept)
    assert archive.find(ObjectKind.REQUEST, NAME) == kept
    assert archive.read(ObjectKind.REQUEST, NAME) == b"data"
    assert (kept.size, kept.sealed, kept.tenant, kept.removed_ns) == (4, False, "clinic", None)
    assert archive.find(ObjectKind.RESPONSE, NAME) is None
    assert archive.find(ObjectKind.REQUEST, NAME[1:]) is None


def test_the_row_commits_with_the_receipt_or_not_at_all(archive, log):
    kept = archive.keep(ObjectKind.REQUEST, NAME, b"data", tenant="clinic")
    sessions = writing_sessions(archive.engine)
    with sessions() as session:
        log.append_within(session, [numbered(0)])
        archive.record_within(session, [kept])
        session.rollback()
    assert archive.find(ObjectKind.REQUEST, NAME) is None
    with sessions() as session:
        head = log.append_within(session, [numbered(0)])
        archive.record_within(session, [kept])
        session.commit()
    log.acknowledge(head)
    assert archive.find(ObjectKind.REQUEST, NAME) == kept


def test_the_first_object_of_a_name_stays(archive):
    first = archive.keep(ObjectKind.MODEL, NAME, b"first", tenant="clinic")
    second = archive.keep(ObjectKind.MODEL, NAME, b"second", tenant="other")
    record(archive, first)
    record(archive, second, first)
    assert archive.find(ObjectKind.MODEL, NAME) == first
    assert archive.read(ObjectKind.MODEL, NAME) == b"first"


def test_an_object_that_a_rule_removed_may_be_kept_again(archive):
    first = archive.keep(ObjectKind.REQUEST, NAME, b"data", tenant="clinic")
    record(archive, first)
    with writing(archive.engine).begin() as connection:
        connection.execute(update(objects).values(removed_ns=5))
    assert archive.find(ObjectKind.REQUEST, NAME) == replace(first, removed_ns=5)
    with pytest.raises(ObjectMissingError, match="removed by a rule"):
        archive.read(ObjectKind.REQUEST, NAME)
    again = archive.keep(ObjectKind.REQUEST, NAME, b"data", tenant="clinic")
    record(archive, again)
    assert archive.find(ObjectKind.REQUEST, NAME) == again
    assert archive.read(ObjectKind.REQUEST, NAME) == b"data"


def test_a_sealed_object_rests_sealed_and_is_read_as_it_was(archive, sealing_keys, tmp_path):
    kept = archive.keep(ObjectKind.REQUEST, NAME, PLAIN, tenant="clinic", seal=True)
    record(archive, kept)
    assert kept.sealed
    assert archive.read(ObjectKind.REQUEST, NAME) == PLAIN
    for path in (tmp_path / "archive").rglob("*"):
        assert path.is_dir() or PLAIN not in path.read_bytes()
    assert sealing_keys.erase("clinic")
    with pytest.raises(ObjectErasedError):
        archive.read(ObjectKind.REQUEST, NAME)
    assert archive.store.get(kept.address)  # its address verifies as before


def test_a_sealed_object_filed_under_another_name_is_refused(archive):
    record(archive, archive.keep(ObjectKind.REQUEST, NAME, PLAIN, tenant="clinic", seal=True))
    with writing(archive.engine).begin() as connection:
        connection.execute(update(objects).values(name=b"m" * 16))
    with pytest.raises(ObjectDamagedError):
        archive.read(ObjectKind.REQUEST, b"m" * 16)


def test_lost_and_damaged_objects_are_said_to_be(archive, tmp_path):
    kept = archive.keep(ObjectKind.REQUEST, NAME, b"data", tenant="clinic")
    record(archive, kept)
    (path,) = (tmp_path / "archive").glob(f"*/{kept.address.hex()}")
    path.write_bytes(b"dat4")
    with pytest.raises(ObjectDamagedError):
        archive.read(ObjectKind.REQUEST, NAME)
    path.unlink()
    with pytest.raises(ObjectMissingError):
        archive.read(ObjectKind.REQUEST, NAME)


def test_nothing_is_recorded_of_what_could_not_be_kept(log, tmp_path, sealing_keys):
    archive = Archive(log.engine, FileStore(tmp_path / "archive"), sealing_keys)
    (tmp_path / "archive").rename(tmp_path / "away")
    with pytest.raises(ArchiveUnavailableError):
        archive.keep(ObjectKind.REQUEST, NAME, b"data", tenant="clinic")
    with log.engine.connect() as connection:
        assert connection.execute(select(objects)).all() == []


def test_names_have_bounds(archive):
    for name in (b"", b"n" * 33):
        with pytest.raises(ValueError, match="name"):
            archive.keep(ObjectKind.MODEL, name, b"data", tenant="clinic")


def test_a_row_of_an_unknown_kind_is_an_error_of_the_log(archive):
    record(archive, archive.keep(ObjectKind.MODEL, NAME, b"data", tenant="clinic"))
    with archive.engine.connect() as connection:
        row = connection.execute(text("SELECT * FROM audit_objects")).one()
    from audit.archive import kept_object

    with pytest.raises(LogStateError, match="unknown kind"):
        kept_object(type("Row", (), {**row._mapping, "kind": "novel"}))


def test_a_database_that_fails_is_a_typed_error(archive, tmp_path):
    kept = archive.keep(ObjectKind.MODEL, NAME, b"data", tenant="clinic")
    engine = open_engine(f"sqlite:///{tmp_path}/failing.db")
    AuditLog.open(engine, ORIGIN)

    def forbid(connection, *_):
        connection.execute("PRAGMA query_only=ON").close()

    event.listen(engine, "checkout", forbid)
    with writing_sessions(engine)() as session, pytest.raises(LogUnavailableError):
        archive.record_within(session, [kept])
    engine.dispose()
