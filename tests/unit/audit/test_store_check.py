from __future__ import annotations

from dataclasses import replace

import pytest
from sqlalchemy import delete, update

import audit.store_check
from audit.archive import ObjectKind
from audit.database import writing, writing_sessions
from audit.errors import ArchiveUnavailableError
from audit.schema import objects
from audit.signed_receipt import sign_receipt
from audit.store_check import check_store
from tests.unit.audit.example_receipts import DENIED, SERVER, numbered

KINDS = (ObjectKind.REQUEST, ObjectKind.RESPONSE)
MODEL = numbered(0).receipt.digests.model
CARD = b"card and registration"


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(audit.store_check, "_ROWS", 2)


@pytest.fixture
def recorded(log, archive):
    """Three answered requests by one model with their objects, and a denied one without."""
    denied = sign_receipt(replace(DENIED, receipt_id=b"d" * 16), SERVER)
    receipts = [*(numbered(number) for number in range(3)), denied]
    with writing_sessions(archive.engine)() as session:
        log.append_within(session, receipts)
        for number in range(3):
            name = numbered(number).receipt.receipt_id
            for kind in KINDS:
                data = f"{kind} {number}".encode()
                kept = archive.keep(kind, name, data, tenant="clinic", seal=number == 1)
                archive.record_within(session, [kept])
        model = archive.keep(ObjectKind.MODEL, MODEL, CARD, tenant="clinic")
        archive.record_within(session, [model])
        session.commit()
    return [
        archive.find(kind, numbered(number).receipt.receipt_id)
        for number in range(3)
        for kind in KINDS
    ]


def path_of(archive, kept):
    return archive.store._path(kept.address)


def test_an_archive_that_is_whole_is_said_to_be(archive, recorded):
    done = []
    found = check_store(archive.engine, archive.store, done.append)
    assert found.whole
    assert (found.rows, found.objects, found.removed, found.orphans) == (7, 7, 0, 0)
    assert found.size == sum(kept.size for kept in recorded) + len(CARD)
    assert done == list(range(1, 15))


def test_everything_that_is_lost_or_damaged_is_found(archive, recorded):
    path_of(archive, recorded[1]).unlink()
    path_of(archive, recorded[2]).write_bytes(b"something else")
    data = bytearray(path_of(archive, recorded[5]).read_bytes())
    data[3] ^= 4
    path_of(archive, recorded[5]).write_bytes(data)
    archive.keep(ObjectKind.MODEL, b"m", b"without a row", tenant="clinic")
    found = check_store(archive.engine, archive.store)
    assert not found.whole
    assert found.missing == (recorded[1],)
    assert set(found.damaged) == {recorded[2], recorded[5]}
    assert (found.orphans, found.unarchived) == (1, ())


def test_a_row_that_says_another_size_is_found(archive, recorded):
    with writing(archive.engine).begin() as connection:
        at = objects.c.address == recorded[0].address
        connection.execute(update(objects).where(at).values(size=1))
    found = check_store(archive.engine, archive.store)
    assert found.damaged == (replace(recorded[0], size=1),)


@pytest.mark.parametrize("kind", KINDS)
def test_an_answer_whose_row_was_removed_is_found(archive, recorded, kind):
    name = numbered(1).receipt.receipt_id
    with writing(archive.engine).begin() as connection:
        at = (objects.c.kind == str(kind)) & (objects.c.name == name)
        connection.execute(delete(objects).where(at))
    found = check_store(archive.engine, archive.store)
    assert not found.whole
    assert found.unarchived == (name,)
    assert found.orphans == 1


def test_answers_whose_model_was_removed_are_found(archive, recorded):
    with writing(archive.engine).begin() as connection:
        connection.execute(delete(objects).where(objects.c.kind == str(ObjectKind.MODEL)))
    found = check_store(archive.engine, archive.store)
    assert found.unarchived == tuple(numbered(number).receipt.receipt_id for number in range(3))


@pytest.mark.parametrize("changed", [{"tenant": "other"}, {"name": bytes(16)}])
def test_a_row_that_belongs_to_no_receipt_is_found(archive, recorded, changed):
    with writing(archive.engine).begin() as connection:
        at = objects.c.address == recorded[2].address
        connection.execute(update(objects).where(at).values(**changed))
    found = check_store(archive.engine, archive.store)
    assert not found.whole
    assert found.strays == (replace(recorded[2], **changed),)


def test_a_row_whose_bytes_a_rule_removed_is_no_loss(archive, recorded):
    archive.store.delete(recorded[0].address)
    with writing(archive.engine).begin() as connection:
        at = objects.c.address == recorded[0].address
        connection.execute(update(objects).where(at).values(removed_ns=5))
    found = check_store(archive.engine, archive.store)
    assert found.whole
    assert (found.rows, found.removed, found.objects) == (7, 1, 6)


def test_an_object_that_is_recorded_meanwhile_is_neither_lost_nor_an_orphan(archive, recorded):
    class Slow:
        """A store whose list is older than its objects."""

        def addresses(self):
            yield recorded[0].address

        def get(self, address):
            return archive.store.get(address)

    found = check_store(archive.engine, Slow())
    assert found.whole
    assert (found.objects, found.orphans) == (7, 0)


def test_a_store_that_is_gone_is_an_error_and_not_a_loss(archive, recorded, tmp_path):
    (tmp_path / "archive").rename(tmp_path / "away")
    with pytest.raises(ArchiveUnavailableError):
        check_store(archive.engine, archive.store)
