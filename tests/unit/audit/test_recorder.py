"""The recorder: one transaction for many receipts, acknowledged after it, whatever fails."""

from __future__ import annotations

import threading

import pytest

from audit.archive import Archive, ObjectKind
from audit.database import open_engine
from audit.errors import (
    DuplicateReceiptError,
    LogStateError,
    LogUnavailableError,
    UnknownEntryError,
)
from audit.log import AuditLog
from audit.object_store import FileStore
from audit.recorder import CommitStep, Recorded, Recorder
from audit.sealing import SealingKeys
from tests.unit.audit.example_receipts import ORIGIN, numbered

SECONDS = 20
TRANSACTION = [
    CommitStep.BATCH_TAKEN,
    CommitStep.APPENDED,
    CommitStep.OBJECTS_RECORDED,
    CommitStep.COMMITTED,
    CommitStep.ACKNOWLEDGED,
]


class Gate:
    """Stops the recorder at one of its steps until it is opened; remembers all."""

    def __init__(self, at: CommitStep | None = None) -> None:
        self.steps: list[CommitStep] = []
        self.reached, self.opened = threading.Event(), threading.Event()
        self._at = at

    def __call__(self, step: CommitStep) -> None:
        self.steps.append(step)
        if step is self._at and not self.opened.is_set():
            self.reached.set()
            assert self.opened.wait(SECONDS)


@pytest.fixture
def database(tmp_path):
    engine = open_engine(f"sqlite:///{tmp_path / 'audit.db'}")
    yield engine
    engine.dispose()


@pytest.fixture
def log(database):
    return AuditLog.open(database, ORIGIN)


@pytest.fixture
def archive(database, log, tmp_path):
    return Archive(database, FileStore(tmp_path / "archive"), SealingKeys(tmp_path / "sealing"))


@pytest.fixture
def recording(log, archive):
    """Makes recorders, and closes them."""
    made = []

    def make(observer=None, **options):
        made.append(Recorder(log, archive, observer, **options))
        return made[-1]

    yield make
    for recorder in made:
        recorder.close()


def test_a_receipt_and_its_objects_are_there_when_the_future_says_so(log, archive, recording):
    signed = numbered(1)
    name = signed.receipt.receipt_id
    kept = [
        archive.keep(kind, name, data, tenant="clinic")
        for kind, data in ((ObjectKind.REQUEST, b"asked"), (ObjectKind.RESPONSE, b"answered"))
    ]
    assert archive.find(ObjectKind.REQUEST, name) is None
    recorded = recording().record(signed, kept).result(SECONDS)
    assert recorded == Recorded(0, log.head())
    assert log.entry(0).receipt() == signed
    assert archive.read(ObjectKind.REQUEST, name) == b"asked"
    assert archive.read(ObjectKind.RESPONSE, name) == b"answered"


@pytest.mark.accepts("C-95")
def test_nobody_is_told_before_the_commit(log, recording):
    gate = Gate(CommitStep.OBJECTS_RECORDED)
    recorder = recording(gate)
    future = recorder.record(numbered(1))
    assert gate.reached.wait(SECONDS)
    assert not future.done()
    assert log.head().size == 0  # as every other connection sees it
    gate.opened.set()
    assert future.result(SECONDS).index == 0
    recorder.close()
    assert gate.steps == TRANSACTION


def test_what_comes_during_a_commit_shares_the_next_one(log, recording):
    gate = Gate(CommitStep.BATCH_TAKEN)
    recorder = recording(gate, max_batch=3)
    first = recorder.record(numbered(0))
    assert gate.reached.wait(SECONDS)
    later = [recorder.record(numbered(number)) for number in range(1, 6)]
    gate.opened.set()
    assert first.result(SECONDS).head.size == 1
    recorded = [future.result(SECONDS) for future in later]
    assert [(one.index, one.head.size) for one in recorded] == [
        (1, 4), (2, 4), (3, 4), (4, 6), (5, 6),
    ]  # fmt: skip
    assert gate.steps.count(CommitStep.COMMITTED) == 3
    assert [log.entry(one.index).receipt() for one in recorded] == [
        numbered(number) for number in range(1, 6)
    ]


def test_one_that_cannot_be_recorded_spoils_nobody_elses(log, recording):
    gate = Gate(CommitStep.BATCH_TAKEN)
    recorder = recording(gate)
    first = recorder.record(numbered(0))
    assert gate.reached.wait(SECONDS)
    batch = [recorder.record(numbered(number)) for number in (1, 0, 2, 2)]
    gate.opened.set()
    first.result(SECONDS)
    assert [batch[place].result(SECONDS).index for place in (0, 2)] == [1, 2]
    for place, index in ((1, 0), (3, 2)):
        with pytest.raises(DuplicateReceiptError) as caught:
            batch[place].result(SECONDS)
        assert caught.value.index == index
    assert log.head().size == 3


@pytest.mark.parametrize("error", [LogStateError("other"), LogUnavailableError("gone")], ids=type)
def test_a_failure_is_told_to_all_of_a_batch_and_the_recorder_lives_on(
    log, recording, monkeypatch, error
):
    gate = Gate(CommitStep.BATCH_TAKEN)
    recorder = recording(gate)
    append = log.append_within
    recorder.record(numbered(0))
    assert gate.reached.wait(SECONDS)

    def fail(session, receipts):
        if len(receipts) > 1:
            raise error
        return append(session, receipts)

    monkeypatch.setattr(log, "append_within", fail)
    batch = [recorder.record(numbered(number)) for number in (1, 2)]
    gate.opened.set()
    for future in batch:
        with pytest.raises(type(error)):
            future.result(SECONDS)
    assert recorder.record(numbered(3)).result(SECONDS).index == 1


@pytest.mark.rejects("C-95")
def test_a_database_that_is_gone_fails_and_one_that_is_back_does_not(log, recording, tmp_path):
    recorder = recording()
    recorder.record(numbered(0)).result(SECONDS)
    path, aside = tmp_path / "audit.db", tmp_path / "aside"
    path.rename(aside)
    with pytest.raises(LogUnavailableError):
        recorder.record(numbered(1)).result(SECONDS)
    assert not path.exists()
    aside.rename(path)
    assert recorder.record(numbered(2)).result(SECONDS).index == 1
    with pytest.raises(UnknownEntryError):
        log.find_receipt(numbered(1).receipt.receipt_id)


def test_a_disk_that_fails_below_the_database_is_no_surprise(log, recording, monkeypatch):
    def fail(session, receipts):
        raise PermissionError(13, "Permission denied")

    recorder = recording()
    with monkeypatch.context() as patched:
        patched.setattr(log, "append_within", fail)
        with pytest.raises(LogUnavailableError, match="Permission denied"):
            recorder.record(numbered(0)).result(SECONDS)
    assert recorder.record(numbered(0)).result(SECONDS).index == 0


def test_rows_that_cannot_be_written_take_the_receipt_with_them(
    log, archive, recording, monkeypatch
):
    def fail(session, kept):
        raise LogStateError("in the way")

    monkeypatch.setattr(archive, "record_within", fail)
    with pytest.raises(LogStateError):
        recording().record(numbered(0)).result(SECONDS)
    assert log.head().size == 0


def test_nobody_can_cancel_what_is_to_be_recorded(log, recording):
    gate = Gate(CommitStep.BATCH_TAKEN)
    recorder = recording(gate)
    recorder.record(numbered(0))
    assert gate.reached.wait(SECONDS)
    waiting = recorder.record(numbered(1))
    assert not waiting.cancel()
    gate.opened.set()
    assert waiting.result(SECONDS).index == 1


def test_closing_records_what_waits_and_refuses_what_comes_later(log, recording):
    gate = Gate(CommitStep.BATCH_TAKEN)
    recorder = recording(gate, max_batch=2)
    futures = [recorder.record(numbered(number)) for number in range(7)]
    assert gate.reached.wait(SECONDS)
    closing = threading.Thread(target=recorder.close)
    closing.start()
    gate.opened.set()
    closing.join(SECONDS)
    assert not closing.is_alive()
    assert [future.result(0).index for future in futures] == list(range(7))
    with pytest.raises(LogUnavailableError, match="closed"):
        recorder.record(numbered(8)).result(0)
    recorder.close()
    assert log.head().size == 7


def test_an_offer_is_not_taken_behind_too_many(log, recording):
    gate = Gate(CommitStep.BATCH_TAKEN)
    recorder = recording(gate, max_waiting=2)
    recorder.record(numbered(0))
    assert gate.reached.wait(SECONDS)
    taken = [recorder.offer(numbered(number)) for number in (1, 2)]
    assert None not in taken
    assert recorder.offer(numbered(3)) is None
    answer = recorder.record(numbered(4))  # answers always wait
    gate.opened.set()
    assert answer.result(SECONDS).index == 3
    again = recorder.offer(numbered(3))
    assert again is not None
    assert again.result(SECONDS).index == 4


def test_many_threads_get_each_its_own_place(log, recording):
    recorder = recording()
    found: dict[int, int] = {}

    def record(start: int) -> None:
        for number in range(start, start + 20):
            found[number] = recorder.record(numbered(number)).result(SECONDS).index

    threads = [threading.Thread(target=record, args=(20 * part,)) for part in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(SECONDS)
    assert sorted(found.values()) == list(range(160))
    assert all(log.entry(index).receipt() == numbered(number) for number, index in found.items())


@pytest.mark.parametrize("step", TRANSACTION)
def test_nothing_ends_the_thread_that_everybody_waits_for(log, recording, step):
    failing = [True]

    def observe(taken: CommitStep) -> None:
        if taken is step and failing:
            failing.pop()
            raise MemoryError

    recorder = recording(observe)
    first = recorder.record(numbered(1))
    if step is CommitStep.ACKNOWLEDGED:
        assert first.result(SECONDS).index == 0
    else:
        with pytest.raises(MemoryError):
            first.result(SECONDS)
    expected = 1 if step in {CommitStep.COMMITTED, CommitStep.ACKNOWLEDGED} else 0
    assert recorder.record(numbered(2)).result(SECONDS).index == expected
