from __future__ import annotations

import asyncio

import pytest

from protocol.errors import EncodingError
from server.identity import Principal
from server.refusals import Refusal
from server.uploads import ParkedUploads, UploadName
from wire.rpc import Reason

MESSAGES = [bytes(1000), bytes(2000)]
HEADER = b"a header with a nonce"


def principal(tenant: str = "a", client_id: str | None = None) -> Principal:
    return Principal(tenant, client_id, frozenset())


def name(header: bytes = HEADER, **who: str) -> UploadName:
    return UploadName.of(principal(**who), header)


def running(scenario) -> None:
    asyncio.run(scenario())


def test_what_is_parked_is_taken_once():
    async def scenario() -> None:
        parked = ParkedUploads(10_000, 60)
        parked.park(name(), MESSAGES)
        assert parked.held_bytes >= 3000
        assert parked.take(name()) == tuple(MESSAGES)
        assert parked.take(name()) == ()
        assert parked.held_bytes == 0

    running(scenario)


@pytest.mark.parametrize(
    "other", [name(b"another header"), name(tenant="b"), name(client_id="somebody")]
)
def test_nobody_else_takes_it(other):
    async def scenario() -> None:
        parked = ParkedUploads(10_000, 60)
        parked.park(name(), MESSAGES)
        assert parked.take(other) == ()
        assert parked.take(name()) == tuple(MESSAGES)

    running(scenario)


def test_it_is_forgotten_after_its_time_though_nobody_asks():
    async def scenario() -> None:
        parked = ParkedUploads(10_000, 0.02)
        parked.park(name(), MESSAGES)
        await asyncio.sleep(0.1)
        assert parked.held_bytes == 0
        assert parked.take(name()) == ()

    running(scenario)


def test_what_is_parked_again_has_its_time_again():
    async def scenario() -> None:
        parked = ParkedUploads(10_000, 0.2)
        parked.park(name(), MESSAGES[:1])
        await asyncio.sleep(0.12)
        parked.park(name(), MESSAGES)
        await asyncio.sleep(0.12)
        assert parked.take(name()) == tuple(MESSAGES)

    running(scenario)


def test_many_ids_take_no_more_memory_than_is_allowed():
    async def scenario() -> None:
        parked = ParkedUploads(10_000, 60)
        for number in range(1000):
            parked.park(name(bytes([number % 256, number // 256])), MESSAGES)
            assert parked.held_bytes <= 10_000
        for number in range(2_000):  # of no size at all
            parked.park(name(str(number).encode()), [b""])
        assert parked.held_bytes <= 10_000
        assert len(parked._parked) <= 100

    running(scenario)


def test_the_tenant_with_most_loses_what_it_parked_first():
    async def scenario() -> None:
        parked = ParkedUploads(10_000, 60)
        parked.park(name(tenant="quiet"), MESSAGES)
        for number in range(100):
            parked.park(name(bytes([number]), tenant="loud"), MESSAGES)
        assert parked.take(name(tenant="quiet")) == tuple(MESSAGES)
        assert parked.take(name(bytes([99]), tenant="loud")) == tuple(MESSAGES)
        assert parked.take(name(bytes([0]), tenant="loud")) == ()

    running(scenario)


@pytest.mark.parametrize("messages", [[], [bytes(20_000)]])
def test_what_is_nothing_or_too_much_displaces_nobody(messages):
    async def scenario() -> None:
        parked = ParkedUploads(10_000, 60)
        parked.park(name(), MESSAGES)
        parked.park(name(b"other"), messages)
        assert parked.take(name(b"other")) == ()
        assert parked.take(name()) == tuple(MESSAGES)

    running(scenario)


def test_nothing_is_parked_where_nothing_may_be():
    async def scenario() -> None:
        parked = ParkedUploads(0, 60)
        parked.park(name(), MESSAGES)
        assert parked.take(name()) == ()

    running(scenario)


@pytest.mark.parametrize(
    ("error", "kept"),
    [
        (asyncio.CancelledError(), True),
        (Refusal(Reason.TOO_SLOW, "paused"), True),
        (Refusal(Reason.WORKER_LOST, "lost"), True),
        (Refusal(Reason.REQUEST_REFUSED, "refused"), False),
        (ValueError("malformed"), False),
        (None, False),
    ],
)
def test_what_survives_is_what_may_be_asked_again(error, kept):
    async def scenario() -> None:
        parked = ParkedUploads(10_000, 60)

        async def call() -> None:
            async with parked.surviving(name()) as upload:
                upload.messages += MESSAGES
                if error is not None:
                    raise error

        await asyncio.gather(call(), return_exceptions=True)
        assert parked.take(name()) == (tuple(MESSAGES) if kept else ())

    running(scenario)


@pytest.mark.parametrize("broke_off", [True, False])
def test_an_upload_that_ended_early_survives_and_a_malformed_one_does_not(broke_off):
    async def scenario() -> None:
        parked = ParkedUploads(10_000, 60)

        async def call() -> None:
            async with parked.surviving(name()) as upload:
                upload.messages += MESSAGES
                upload.broke_off = broke_off
                raise EncodingError("2 ciphertexts of 3, or something that is none")

        await asyncio.gather(call(), return_exceptions=True)
        assert parked.take(name()) == (tuple(MESSAGES) if broke_off else ())

    running(scenario)


def test_an_upload_that_breaks_again_is_whole_the_next_time():
    async def scenario() -> None:
        parked = ParkedUploads(10_000, 60)

        async def call(message: bytes) -> None:
            async with parked.surviving(name()) as upload:
                upload.messages.append(message)
                raise Refusal(Reason.TOO_SLOW, "paused")

        for message in MESSAGES:
            await asyncio.gather(call(message), return_exceptions=True)
        assert parked.take(name()) == tuple(MESSAGES)

    running(scenario)
