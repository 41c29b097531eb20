from __future__ import annotations

import threading

import pytest
from sqlalchemy import Column, Integer, MetaData, Table, insert, select, text

from audit.checkpoint import Checkpoint, sign_checkpoint, verify_checkpoint
from audit.cosignature import cosign
from audit.database import open_engine, writing_sessions
from audit.errors import (
    DuplicateReceiptError,
    LogStateError,
    NoteError,
    ReceiptError,
    SignatureError,
    UnknownEntryError,
)
from audit.head import Head
from audit.keys import SigningKey
from audit.log import MAX_BATCH, AuditLog
from audit.log_check import check_log
from audit.merkle import EMPTY_ROOT, verify_consistency, verify_inclusion
from audit.signed_receipt import sign_receipt
from audit.sql_nodes import in_order
from tests.reference import merkle_log
from tests.unit.audit.example_receipts import (
    DENIED,
    LOG,
    LOG_KEY,
    ORIGIN,
    RECEIPT,
    SERVER,
    numbered,
)


def batch(start, stop):
    return [numbered(number) for number in range(start, stop)]


def test_a_new_log_is_empty(log):
    assert log.head() == Head(0, EMPTY_ROOT)
    assert list(log.entries()) == []
    assert log.latest_checkpoint() is None


def test_what_is_appended_is_there_in_order(log, engine):
    signed = batch(0, 11)
    for start, stop in ((0, 1), (1, 4), (4, 4), (4, 11)):
        head = log.append(signed[start:stop])
        assert head == log.head()
        assert head == Head(stop, merkle_log.head([one.leaf for one in signed[:stop]]))
    assert [entry.receipt() for entry in log.entries()] == signed
    assert [entry.index for entry in log.entries(3, 5)] == [3, 4]
    assert log.entry(7).data == signed[7].entry()
    assert log.find_receipt(signed[5].receipt.receipt_id).index == 5
    assert log.find_request("clinic", signed[6].receipt.idempotency_digest).index == 6
    assert AuditLog.open(engine, ORIGIN).head() == head
    assert check_log(engine, LOG_KEY, server_key=SERVER.public) == head


def test_proofs_of_every_entry_at_every_size_verify(log):
    signed = batch(0, 13)
    log.append(signed)
    leaves = [one.leaf for one in signed]
    for size in range(1, 14):
        for index in range(size):
            proof = log.inclusion_proof(index, size)
            assert proof.head == Head(size, merkle_log.head(leaves[:size]))
            verify_inclusion(proof.head.root, size, index, leaves[index], proof.hashes)
            old = merkle_log.head(leaves[: index + 1])
            hashes = log.consistency_proof(index + 1, size)
            verify_consistency(index + 1, old, size, proof.head.root, hashes)
            assert log.proofs(index, size, index + 1) == (proof, hashes)
        assert log.proofs(0, size) == (log.inclusion_proof(0, size), ())
        assert log.head_at(size) == proof.head


def test_nodes_have_numbers_of_their_own():
    nodes = [(level, index) for level in range(8) for index in range(128 >> level)]
    assert sorted(in_order(node) for node in nodes) == list(range(255))


@pytest.mark.parametrize("index", [-1, 3])
def test_unknown_entries_are_said_to_be_unknown(log, index):
    log.append(batch(0, 3))
    with pytest.raises(UnknownEntryError):
        log.entry(index)
    with pytest.raises(UnknownEntryError):
        log.inclusion_proof(index)
    with pytest.raises(UnknownEntryError):
        log.inclusion_proof(0, 4)
    with pytest.raises(UnknownEntryError):
        log.consistency_proof(1, 4)
    with pytest.raises(UnknownEntryError):
        log.head_at(4)
    with pytest.raises(UnknownEntryError):
        log.find_receipt(bytes(16))
    with pytest.raises(UnknownEntryError):
        log.find_request("other", numbered(0).receipt.idempotency_digest)


def test_a_request_has_one_receipt(log):
    log.append(batch(0, 3))
    before = log.head()
    same_request = sign_receipt(
        RECEIPT.__class__(
            **(vars(RECEIPT) | {"idempotency_digest": numbered(1).receipt.idempotency_digest})
        ),
        SERVER,
    )
    for again, index in (
        ([numbered(2)], 2),
        ([numbered(5), numbered(0)], 0),
        ([same_request], 1),
        ([numbered(9), numbered(9)], None),
    ):
        with pytest.raises(DuplicateReceiptError) as refused:
            log.append(again)
        assert refused.value.index == index
        assert log.head() == before
    log.append([numbered(3)])
    assert log.head().size == 4


def test_requests_of_other_tenants_and_without_a_digest_are_others(log):
    log.append([sign_receipt(RECEIPT, SERVER)])
    for number in range(3):
        change = {"receipt_id": bytes([number] * 16)}
        log.append([sign_receipt(DENIED.__class__(**(vars(DENIED) | change)), SERVER)])
    change = {"receipt_id": b"o" * 16, "tenant": "other"}
    log.append([sign_receipt(RECEIPT.__class__(**(vars(RECEIPT) | change)), SERVER)])
    assert log.head().size == 5


def test_a_batch_has_a_limit(log):
    with pytest.raises(ReceiptError):
        log.append([numbered(0)] * (MAX_BATCH + 1))


results = Table("results", MetaData(), Column("id", Integer, primary_key=True))


def test_a_result_and_its_receipt_commit_together(log, engine):
    results.create(engine)
    sessions = writing_sessions(engine)
    with sessions() as session:
        session.execute(insert(results).values(id=1))
        head = log.append_within(session, batch(0, 2))
        session.commit()
    log.acknowledge(head)
    assert log.head() == head
    with sessions() as session:
        session.execute(insert(results).values(id=2))
        log.append_within(session, batch(2, 3))
        log.append_within(session, batch(3, 4))
        session.rollback()
    with sessions() as session:
        session.execute(insert(results).values(id=3))
        with pytest.raises(DuplicateReceiptError):
            log.append_within(session, batch(1, 3))
        session.rollback()
    assert log.head() == head
    with engine.begin() as connection:
        assert connection.execute(select(results.c.id)).scalars().all() == [1]
    assert log.append(batch(2, 4)).size == 4


def test_threads_append_one_after_another(log, engine):
    failures = []

    def work(number):
        try:
            for at in range(10):
                log.append([numbered(number * 100 + at)])
                log.head()
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    threads = [threading.Thread(target=work, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert check_log(engine, LOG_KEY).size == 40


def test_two_logs_over_one_database_follow_each_other(log, database_url):
    other_engine = open_engine(database_url)
    other = AuditLog.open(other_engine, ORIGIN)
    for start in range(0, 12, 2):
        log.append(batch(start, start + 1))
        other.append(batch(start + 1, start + 2))
    assert log.head() == other.head()
    assert log.head().size == 12
    other_engine.dispose()


def test_checkpoints_are_of_the_log_and_are_kept(log):
    log.append(batch(0, 3))
    note = log.checkpoint(LOG)
    checkpoint, _ = verify_checkpoint(note.encoded(), LOG_KEY)
    assert Head(checkpoint.size, checkpoint.root) == log.head()
    assert log.checkpoint(LOG) == note == log.latest_checkpoint()
    log.append(batch(3, 5))
    newer = log.checkpoint(LOG)
    assert log.latest_checkpoint() == newer
    cosigned = newer.with_signatures([cosign(newer, "witness.example/w", SERVER, 1)])
    assert log.keep_checkpoint(cosigned.encoded(), LOG_KEY) == cosigned
    assert log.keep_checkpoint(newer.encoded(), LOG_KEY) == cosigned
    assert log.latest_checkpoint() == cosigned


def test_a_checkpoint_of_something_else_is_not_kept(log):
    head = log.append(batch(0, 3))
    split = sign_checkpoint(Checkpoint(ORIGIN, 3, bytes(32)), LOG)
    larger = sign_checkpoint(Checkpoint(ORIGIN, 4, head.root), LOG)
    for note in (split, larger):
        with pytest.raises(LogStateError):
            log.keep_checkpoint(note.encoded(), LOG_KEY)
    foreign = sign_checkpoint(Checkpoint(ORIGIN, 3, head.root), SigningKey.generate())
    with pytest.raises(SignatureError):
        log.keep_checkpoint(foreign.encoded(), LOG_KEY)
    with pytest.raises(NoteError):
        log.keep_checkpoint(b"", LOG_KEY)
    assert log.latest_checkpoint() is None


def test_the_log_of_another_is_not_opened(log, engine):
    log.append(batch(0, 1))
    with pytest.raises(LogStateError, match="expected"):
        AuditLog.open(engine, "log.example/other")
    with engine.begin() as connection:
        connection.execute(text("UPDATE audit_head SET schema_version = 3"))
    with pytest.raises(LogStateError, match="schema 3 is newer"):
        AuditLog.open(engine, ORIGIN)
    with pytest.raises(LogStateError, match="schema 3"):
        log.append(batch(1, 2))
