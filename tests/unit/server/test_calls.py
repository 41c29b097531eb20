"""Calls from outside gRPC: none ends without its receipt."""

from __future__ import annotations

import asyncio
import math
import weakref

import grpc
import pytest

from audit.receipt import Action
from server.calls import Calls, both
from server.identity import Anyone
from server.refusals import Refusal
from server.rooms import OneRoom, Room
from server.trail import Trail
from server.trail_files import open_trail_files
from wire import rpc
from wire.rpc import Reason


class AbortedError(Exception):
    """What a context raises once it has sent a status."""


class Context:
    """Keeps what would be sent."""

    def __init__(self) -> None:
        self.sent: tuple[grpc.StatusCode, str, dict[str, str]] | None = None

    def auth_context(self) -> dict[str, tuple[bytes, ...]]:
        return {}

    def invocation_metadata(self) -> tuple[tuple[str, str], ...]:
        return ()

    async def abort(self, code, details, metadata) -> None:
        self.sent = code, details, dict(metadata)
        raise AbortedError


@pytest.fixture
def files(tmp_path):
    opened = open_trail_files(tmp_path / "state", origin="log.example/clinic")
    yield opened
    opened.close()


def calls_into(trail: Trail, seconds: float) -> Calls:
    room = Room("clinic", registry=None, keys=None, sessions=None, trail=trail)
    return Calls(seconds, Anyone("clinic", certificates=False), OneRoom(room))


def served(files, body, *, recorded=True, seconds=20.0, meanwhile=None) -> Context:
    """Serve one call with a body; what was sent, once all is recorded."""
    context = Context()

    async def run() -> None:
        trail = Trail(files, "clinic")
        calls = calls_into(trail, seconds)

        async def call() -> None:
            async with calls.serving(context, rpc.INFER) as call:
                call.event = trail.event(Action.PREDICT) if recorded else None
                await body()

        task = asyncio.create_task(call())
        await asyncio.sleep(0)
        if meanwhile is not None:
            await meanwhile(calls)
        await asyncio.gather(task, return_exceptions=True)
        await trail.close()

    asyncio.run(run())
    return context


def reasons(files) -> list[str | None]:
    return [entry.receipt().receipt.reason for entry in files.log.entries()]


async def _busy() -> None:
    raise Refusal(Reason.BUSY, "busy")


async def _long() -> None:
    await asyncio.sleep(20)


async def _nothing() -> None:
    """Answered."""


def test_a_refusal_is_sent_with_its_receipt(files):
    code, details, metadata = served(files, _busy).sent
    (entry,) = files.log.entries()
    assert (code, details) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "busy")
    assert metadata == {
        rpc.REASON_METADATA: "busy",
        rpc.RECEIPT_METADATA: entry.receipt().receipt.receipt_id.hex(),
    }


def test_calls_that_need_no_receipt_get_none(files):
    assert served(files, _busy, recorded=False).sent[2] == {rpc.REASON_METADATA: "busy"}
    assert served(files, _nothing).sent is None
    assert reasons(files) == []


def test_a_call_that_takes_too_long_says_so(files):
    assert served(files, _long, seconds=0.01).sent[2][rpc.REASON_METADATA] == "too-slow"
    assert reasons(files) == ["too-slow"]


def test_what_a_call_holds_is_given_back_when_its_receipt_is_written(files):
    held: list[list[str | None]] = []

    async def refused(trail: Trail) -> None:
        async with calls_into(trail, 20.0).serving(Context(), rpc.INFER) as call:
            call.event = trail.event(Action.PREDICT)
            call.held.callback(lambda: held.append(reasons(files)))
            await _busy()

    async def run() -> None:
        trail = Trail(files, "clinic")
        await asyncio.gather(refused(trail), return_exceptions=True)
        await trail.close()

    asyncio.run(run())
    assert held == [["busy"]]


def test_a_peer_that_does_not_read_its_refusal_holds_nothing(files):
    """To abort a call waits for its peer, for as long as that pleases."""
    held = []

    class Words:
        """What a call has in memory."""

    class Deaf(Context):
        async def abort(self, code, details, metadata) -> None:
            held.append((given_back[:], words[0]()))
            await super().abort(code, details, metadata)

    given_back: list[bool] = []
    words: list[weakref.ref[Words]] = []

    async def work() -> None:
        loaded = Words()
        words.append(weakref.ref(loaded))
        await _busy()

    async def run() -> None:
        trail = Trail(files, "clinic")

        async def call() -> None:
            async with calls_into(trail, 20.0).serving(Deaf(), rpc.INFER) as call:
                call.event = trail.event(Action.PREDICT)
                call.held.callback(lambda: given_back.append(True))
                await work()

        await asyncio.gather(call(), return_exceptions=True)
        await trail.close()

    asyncio.run(run())
    assert held == [([True], None)]
    assert given_back == [True]


@pytest.mark.parametrize(
    ("peers", "left"), [(None, 20.0), (math.inf, 20.0), (3.0, 3.0), (0.0, 0.0), (900.0, 20.0)]
)
def test_a_call_has_the_time_that_both_sides_allow(files, peers, left):
    found = []

    class Limited(Context):
        def time_remaining(self) -> float | None:
            return peers

    async def run() -> None:
        trail = Trail(files, "clinic")
        context = Limited()
        async with calls_into(trail, 20.0).serving(context, rpc.INFER) as call:
            found.append(call.seconds_left(context))
        await trail.close()

    asyncio.run(run())
    assert found[0] == pytest.approx(left, abs=1.0)


@pytest.mark.parametrize("failing", [0, 1])
def test_of_two_things_neither_is_at_work_when_one_has_failed(failing: int):
    ended = []

    async def fail() -> None:
        raise Refusal(Reason.BUSY, "busy")

    async def work() -> None:
        await asyncio.sleep(0.01)
        ended.append(True)

    parts = [work(), work()]
    parts[failing].close()
    parts[failing] = fail()
    with pytest.raises(Refusal, match="busy"):
        asyncio.run(_both(*parts))
    assert ended == [True]


async def _both(one, other):
    return await both(one, other)


def test_two_things_have_two_results():
    async def of(value: int) -> int:
        return value

    assert asyncio.run(_both(of(1), of(2))) == (1, 2)


def test_calls_that_are_ended_are_recorded_before_the_trail_is_closed(files):
    assert served(files, _long, meanwhile=Calls.end).sent is None
    assert reasons(files) == ["cancelled"]
