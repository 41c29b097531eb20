from __future__ import annotations

import threading
from dataclasses import replace

import pytest
from sqlalchemy import select, update

from audit.countersignatures import countersign, countersignature
from audit.database import open_engine, writing
from audit.errors import LogStateError, SignatureError, UnknownEntryError
from audit.keys import SigningKey
from audit.log import AuditLog
from audit.log_check import check_log
from audit.receipt import Action, Outcome
from audit.schema import countersignatures
from audit.signed_receipt import sign_receipt
from tests.unit.audit.example_receipts import CLIENT, LOG_KEY, ORIGIN, SERVER, numbered

OTHER = SigningKey.from_secret(b"o" * 32)


@pytest.fixture
def signed(log):
    log.append([numbered(number) for number in range(4)])
    return numbered(2)


def of(signed, key=CLIENT):
    return signed.countersigned(key).client


def test_a_countersignature_is_kept_beside_the_entry(log, engine, signed):
    receipt_id = signed.receipt.receipt_id
    assert countersignature(log, receipt_id) is None
    countersign(log, receipt_id, of(signed))
    assert countersignature(log, receipt_id) == of(signed)
    assert log.find_receipt(receipt_id).receipt() == signed  # as it was
    assert check_log(engine, LOG_KEY).size == 4


def test_the_first_one_wins_and_may_be_repeated(log, signed):
    receipt_id = signed.receipt.receipt_id
    countersign(log, receipt_id, of(signed))
    countersign(log, receipt_id, of(signed))
    with pytest.raises(SignatureError, match="another countersignature"):
        countersign(log, receipt_id, of(signed, OTHER))
    assert countersignature(log, receipt_id) == of(signed)


@pytest.mark.parametrize(
    "forged",
    [
        of(numbered(1)),
        replace(of(numbered(2)), public=OTHER.public),
        replace(of(numbered(2)), signature=bytes(64)),
        numbered(2).server,
    ],
    ids=["of another receipt", "of another key", "nonsense", "the server's"],
)
def test_what_is_no_signature_of_a_client_is_not_kept(log, signed, forged):
    with pytest.raises(SignatureError):
        countersign(log, signed.receipt.receipt_id, forged)
    assert countersignature(log, signed.receipt.receipt_id) is None


@pytest.mark.parametrize(
    "changes",
    [
        {"outcome": Outcome.DENIED, "reason": "busy"},
        {"outcome": Outcome.FAILED, "reason": "cancelled"},
        {"action": Action.ENROL_KEY},
    ],
)
def test_only_answers_are_countersigned(log, changes):
    refused = sign_receipt(replace(numbered(1).receipt, **changes), SERVER)
    log.append([refused])
    with pytest.raises(SignatureError, match="receipts of answers"):
        countersign(log, refused.receipt.receipt_id, of(refused))


def test_only_receipts_of_the_log_are_countersigned(log, signed):
    with pytest.raises(UnknownEntryError):
        countersign(log, numbered(9).receipt.receipt_id, of(numbered(9)))
    with pytest.raises(UnknownEntryError):
        countersignature(log, numbered(9).receipt.receipt_id)


@pytest.mark.parametrize(
    "values",
    [
        {"signature": bytes(64)},
        {"signature": b"short"},
        {"public": OTHER.public},
        {"receipt_id": numbered(1).receipt.receipt_id},
        {"receipt_id": numbered(9).receipt.receipt_id},
    ],
)
@pytest.mark.rejects("C-98")
def test_what_was_altered_in_the_database_is_found(log, engine, signed, values):
    countersign(log, signed.receipt.receipt_id, of(signed))
    with writing(engine).begin() as connection:
        connection.execute(update(countersignatures).values(values))
    with pytest.raises(LogStateError):
        check_log(engine, LOG_KEY)
    if "receipt_id" not in values:
        with pytest.raises(LogStateError):
            countersignature(log, signed.receipt.receipt_id)


def test_of_two_at_once_one_is_kept_and_the_other_is_told(log, engine, signed, database_url):
    outcomes, barrier = [], threading.Barrier(2)

    def work(key):
        own = open_engine(database_url)
        other = AuditLog.open(own, ORIGIN)
        barrier.wait()
        try:
            countersign(other, signed.receipt.receipt_id, of(signed, key))
            outcomes.append(key.public)
        except SignatureError:
            outcomes.append(None)
        own.dispose()

    threads = [threading.Thread(target=work, args=(key,)) for key in (CLIENT, OTHER)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    kept = countersignature(log, signed.receipt.receipt_id)
    assert sorted(outcomes, key=str) == sorted([kept.public, None], key=str)
    with engine.connect() as connection:
        assert len(connection.execute(select(countersignatures)).all()) == 1
    assert SERVER.public != kept.public
