"""The trail on its own: which receipt stands for a call whose recording went wrong."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from dataclasses import replace

import pytest

from audit.archive import ObjectKind
from audit.errors import DuplicateReceiptError, LogStateError, LogUnavailableError
from audit.keys import SigningKey
from audit.receipt import Action, Outcome, TimeSource
from audit.recorder import Recorded
from audit.signed_receipt import sign_receipt
from server.refusals import Refusal
from server.trail import Answered, Trail
from server.trail_files import TrailFiles, open_trail_files
from wire.rpc import Reason

BUSY = Refusal(Reason.BUSY, "busy")


@pytest.fixture
def files(tmp_path):
    opened = open_trail_files(tmp_path / "state", origin="log.example/clinic")
    yield opened
    opened.close()


def running(files: TrailFiles, work: Callable[[Trail], Awaitable[object]]) -> object:
    """What some work with a trail returns, once the trail is closed."""

    async def run() -> object:
        trail = Trail(files, "clinic", TimeSource.PTP, clock=lambda: 1234)
        try:
            return await work(trail)
        finally:
            await trail.close()

    return asyncio.run(run())


def failed(error: Exception) -> Future[Recorded]:
    future: Future[Recorded] = Future()
    future.set_exception(error)
    return future


def outcomes(files: TrailFiles) -> list[Outcome]:
    return [entry.receipt().receipt.outcome for entry in files.log.entries()]


def test_a_refusal_is_recorded_with_tenant_time_and_its_source(files):
    async def refuse(trail: Trail):
        return await trail.record_refusal(trail.event(Action.PREDICT), BUSY)

    refusal, receipt_id = running(files, refuse)
    receipt = files.log.find_receipt(receipt_id).receipt().receipt
    assert refusal is BUSY
    assert (receipt.tenant, receipt.time_ns, receipt.time_source) == ("clinic", 1234, "ptp")


def test_what_is_recorded_already_needs_no_other_receipt(files):
    async def refuse(trail: Trail):
        event = trail.event(Action.PREDICT)
        event.repeats(b"r" * 16, Recorded(0, files.log.head()))
        return await trail.record_refusal(event, BUSY)

    assert running(files, refuse) == (BUSY, b"r" * 16)
    assert outcomes(files) == []


def test_what_could_not_be_recorded_has_a_receipt_of_its_refusal(files):
    async def refuse(trail: Trail):
        event = trail.event(Action.PREDICT)
        event.recording = failed(LogUnavailableError("gone"))
        return await trail.record_refusal(event, Refusal(Reason.AUDIT_UNAVAILABLE, "later"))

    assert running(files, refuse)[1] is not None
    assert outcomes(files) == [Outcome.FAILED]


def test_a_commit_that_was_said_to_have_failed_and_did_not_stands_for_the_call(files):
    async def refuse(trail: Trail):
        event = trail.event(Action.PREDICT)
        files.log.append([sign_receipt(event.refused(Reason.BUSY, 0, TimeSource.NTP), files.key)])
        event.recording = failed(LogUnavailableError("no answer to COMMIT"))
        return event.receipt_id, await trail.record_refusal(event, BUSY)

    receipt_id, found = running(files, refuse)
    assert found == (BUSY, receipt_id)
    assert len(outcomes(files)) == 1


@pytest.mark.parametrize("error", [LogUnavailableError("gone"), RuntimeError("unforeseen")])
def test_a_refusal_that_cannot_be_recorded_says_only_that(files, monkeypatch, error):
    async def refuse(trail: Trail):
        monkeypatch.setattr(trail._recorder, "offer", lambda signed: failed(error))
        return await trail.record_refusal(trail.event(Action.PREDICT), BUSY)

    refusal, receipt_id = running(files, refuse)
    assert (refusal.reason, receipt_id) == (Reason.AUDIT_UNAVAILABLE, None)


def test_what_was_cancelled_is_recorded_before_the_trail_is_closed(files):
    async def cancel(trail: Trail):
        for _ in range(5):
            trail.record_cancelled(trail.event(Action.PREDICT))

    running(files, cancel)
    assert outcomes(files) == [Outcome.FAILED] * 5


def test_a_refusal_whose_caller_is_cancelled_meanwhile_is_recorded(files):
    async def cancel(trail: Trail):
        event = trail.event(Action.PREDICT)
        event.recording = Future()
        refusing = asyncio.create_task(trail.record_refusal(event, BUSY))
        await asyncio.sleep(0)
        refusing.cancel()
        await asyncio.gather(refusing, return_exceptions=True)
        event.recording.set_exception(LogUnavailableError("gone"))

    running(files, cancel)
    assert outcomes(files) == [Outcome.DENIED]


def test_no_checkpoint_is_signed_for_a_log_that_is_not_what_was_recorded(files):
    async def prove(trail: Trail):
        event = trail.event(Action.PREDICT)
        signed = sign_receipt(event.refused(Reason.BUSY, 0, TimeSource.NTP), SigningKey.generate())
        head = files.log.append([signed])
        await trail.proven(Answered(signed, 0, head), 0)
        await trail.proven(Answered(signed, 0, replace(head, root=bytes(32))), 0)

    with pytest.raises(LogStateError, match="is not what it was"):
        running(files, prove)


def test_a_disk_that_fails_is_a_trail_that_fails(files, monkeypatch):
    async def prove(trail: Trail):
        def fail(*_: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(files.log, "proofs", fail)
        await trail.proven(Answered(None, 0, files.log.head()), 0)

    with pytest.raises(LogUnavailableError, match="Permission denied"):
        running(files, prove)


def test_a_duplicate_is_told_to_who_records_it(files):
    async def record(trail: Trail):
        event = trail.event(Action.PREDICT)
        await trail.record_refusal(event, BUSY)
        signed = sign_receipt(event.refused(Reason.BUSY, 1, TimeSource.NTP), files.key)
        await asyncio.wrap_future(trail._recorder.record(signed))

    with pytest.raises(DuplicateReceiptError):
        running(files, record)


def test_an_archive_that_holds_something_else_is_a_trail_that_fails(files):
    async def repeat(trail: Trail):
        event = trail.event(Action.PREDICT)
        signed = sign_receipt(event.refused(Reason.BUSY, 0, TimeSource.NTP), files.key)
        kept = files.archive.keep(
            ObjectKind.REQUEST, event.receipt_id, b"no request", tenant="clinic"
        )
        recorded = await asyncio.wrap_future(trail._recorder.record(signed, [kept]))
        answered = Answered(signed, recorded.index, recorded.head)
        await trail.repeat_answer(trail.event(Action.PREDICT), answered, b"header")

    with pytest.raises(LogStateError, match="holds something else"):
        running(files, repeat)
