"""What a client sends again, and what it takes again, when a connection breaks."""

from __future__ import annotations

import grpc
import pytest

from client_sdk import ServerBusyError, TransportError
from client_sdk.metering import Traffic
from client_sdk.resuming import Exchange
from client_sdk.transport import _translated
from wire import rpc
from wire.inference import encode_continuation
from wire.transfer import Position

HEADER, *BODY = REQUEST = [b"header", b"one", b"two", b"three"]
ANSWER = [b"outputs", b"proof", b"receipt"]


class Assembler:
    """Joins what comes."""

    def __init__(self) -> None:
        self.messages: list[bytes] = []

    def add(self, message: bytes) -> None:
        self.messages.append(message)

    @property
    def is_whole(self) -> bool:
        return len(self.messages) == len(ANSWER)

    def finish(self) -> list[bytes]:
        return self.messages


@pytest.fixture
def parts() -> list[float]:
    return []


@pytest.fixture
def exchange(parts) -> Exchange:
    size = sum(map(len, REQUEST + ANSWER))
    return Exchange(lambda: iter(REQUEST), Assembler, lambda: Traffic(size, parts.append))


def test_everything_is_sent_to_a_server_that_has_nothing(exchange):
    assert [exchange.header(), *exchange.rest(None)] == REQUEST


@pytest.mark.parametrize("count", [1, 2, 3])
def test_what_a_server_has_is_not_sent_again(exchange, count: int):
    held = Position.after(BODY[:count])
    assert list(exchange.rest(held)) == [encode_continuation(held), *BODY[count:]]


@pytest.mark.parametrize(
    "held",
    [
        Position(1, bytes(32)),
        Position(2, Position.after(BODY[:1]).digest),
        Position(4, Position.after(BODY).digest),
        Position(1 << 17, Position.after(BODY).digest),
        Position.after(REQUEST),
        Position.after([*BODY, b"more"]),
    ],
)
def test_a_server_that_has_something_else_gets_everything(exchange, held):
    assert list(exchange.rest(held)) == BODY


def test_an_answer_goes_on_where_it_broke(exchange):
    exchange.answered(None)
    assert exchange.received is None
    exchange.add(ANSWER[0])
    assert exchange.received == Position.after(ANSWER[:1])
    exchange.answered(exchange.received)
    assert not exchange.is_whole
    for message in ANSWER[1:]:
        exchange.add(message)
    assert exchange.is_whole
    assert exchange.finish() == ANSWER


@pytest.mark.parametrize("continues", [None, Position(1, bytes(32)), Position.after(ANSWER[:2])])
def test_an_answer_that_goes_on_from_elsewhere_is_a_new_one(exchange, continues):
    exchange.answered(None)
    exchange.add(ANSWER[0])
    exchange.answered(continues)
    assert exchange.received is None
    for message in ANSWER:
        exchange.add(message)
    assert exchange.finish() == ANSWER


def test_what_need_not_travel_again_counts_as_gone(exchange, parts):
    exchange.header()
    list(exchange.rest(Position.after(BODY)))
    for message in ANSWER:
        exchange.add(message)
    assert parts == sorted(parts)
    assert parts[-1] == 1.0
    exchange.header()
    assert parts[-1] < 0.5


def refused(reason: rpc.Reason, **trailing: str) -> grpc.aio.AioRpcError:
    metadata = grpc.aio.Metadata((rpc.REASON_METADATA, str(reason)), *trailing.items())
    code = grpc.StatusCode.RESOURCE_EXHAUSTED
    return grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, "busy")


@pytest.mark.parametrize("reason", [rpc.Reason.BUSY, rpc.Reason.QUOTA_EXHAUSTED])
@pytest.mark.parametrize(
    ("said", "seconds"),
    [
        ("1500", 1.5),
        ("0", 0.0),
        ("-1", None),
        ("1e9", None),
        ("nan", None),
        ("9" * 10, None),
        ("٣", None),
        ("", None),
    ],
)
def test_a_busy_server_says_when_to_come_back(reason, said, seconds):
    error = _translated(refused(reason, **{rpc.RETRY_METADATA: said}), "server:1")
    assert type(error) is ServerBusyError
    assert error.retry_after_seconds == seconds
    advice = "" if seconds is None else f".  Try again in {seconds:.3g} seconds"
    assert str(error) == f"the server declined ({reason}): busy{advice}"


def test_a_busy_server_need_not_say_when():
    error = _translated(refused(rpc.Reason.BUSY), "server:1")
    assert isinstance(error, TransportError)
    assert error.retry_after_seconds is None
