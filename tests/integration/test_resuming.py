"""Transfers that break go on where they ended, or begin anew; nobody goes on with another's."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import grpc
import pytest

from blindproof.loopback import server_thread
from client_sdk import ServerBusyError
from server.uploads import ParkedUploads
from tests.faults.proxy import proxied
from tests.integration.asking import eventually
from tests.integration.conftest import World
from tests.integration.example_models import records
from tests.integration.raw_requests import fresh, messages_like
from wire import rpc
from wire.inference import encode_continuation
from wire.rpc import Reason
from wire.transfer import Position
from wire.v1 import inference_pb2 as pb

SECONDS = 30.0


@pytest.fixture(scope="module")
def sent(world: World) -> list[bytes]:
    """Header and three ciphertexts."""
    with world.client("public") as client:
        evidence = client.predict(records(2), packing="batch").evidence[0]
    messages = messages_like(evidence)
    assert len(messages) == 4
    return messages


@pytest.fixture(scope="module")
def channel(world: World) -> Iterator[grpc.Channel]:
    """To a server which is soon tired of waiting for a message."""
    settings = world.settings.model_copy(
        update={"idle_seconds": 0.5, "state": world.home / "resuming"}
    )
    credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
    with server_thread(settings) as address, grpc.secure_channel(address, credentials) as opened:
        yield opened


@dataclass
class Came:
    """What came of a call: the answer's messages without the receipt, or a reason."""

    said: dict[str, str]
    messages: list[bytes]
    reason: str = ""


def asked(channel: grpc.Channel, messages: Iterator[bytes] | list[bytes], *metadata) -> Came:
    call = channel.stream_stream(rpc.INFER.path)(iter(messages), timeout=SECONDS, metadata=metadata)
    try:
        came = list(call)
    except grpc.RpcError as error:
        reason = dict(error.trailing_metadata())[rpc.REASON_METADATA]
        return Came(dict(call.initial_metadata()), [], reason)
    assert pb.InferResponse.FromString(came[-1]).WhichOneof("part") == "receipt"
    return Came(dict(call.initial_metadata()), came[:-1])


@contextmanager
def paused(messages: list[bytes]) -> Iterator[Iterator[bytes]]:
    """Messages after which nothing comes for a while."""
    released = threading.Event()

    def stream() -> Iterator[bytes]:
        yield from messages
        released.wait(SECONDS)

    yield stream()
    released.set()


def broken(channel: grpc.Channel, messages: list[bytes], count: int) -> list[bytes]:
    """The messages of a request of which so many arrive after its header."""
    messages = fresh(messages)
    with paused(messages[: count + 1]) as stream:
        assert asked(channel, stream).reason == Reason.TOO_SLOW
    return messages


@pytest.mark.accepts("C-107")
@pytest.mark.parametrize("count", [1, 2, 3])
def test_an_upload_goes_on_where_it_broke(channel, sent, count: int):
    messages = broken(channel, sent, count)
    held = Position.after(messages[1 : count + 1])
    came = asked(channel, [messages[0], encode_continuation(held), *messages[count + 1 :]])
    assert came.said[rpc.HELD_METADATA] == str(held)
    assert len(came.messages) > 1
    # What is archived, and what the receipt is about, is the request as if it had come at once.
    again = asked(channel, messages[:1])
    assert again.messages == came.messages
    assert rpc.ADMITTED_METADATA not in again.said


def test_an_upload_whose_peer_has_gone_is_kept_too(channel, sent):
    messages = fresh(sent)
    held = Position.after(messages[1:3])

    def resumed() -> bool:
        with paused(messages[:3]) as stream:
            call = channel.stream_stream(rpc.INFER.path)(stream, timeout=SECONDS)
            said = dict(call.initial_metadata())
            time.sleep(0.2)
            call.cancel()
        return said.get(rpc.HELD_METADATA) == str(held)

    eventually(resumed)


def test_an_upload_that_breaks_twice_is_resumed_with_all_of_it(channel, sent):
    messages = broken(channel, sent, 1)
    held = Position.after(messages[1:2])
    with paused([messages[0], encode_continuation(held), messages[2]]) as stream:
        assert asked(channel, stream).reason == Reason.TOO_SLOW
    held = Position.after(messages[1:3])
    came = asked(channel, [messages[0], encode_continuation(held), messages[3]])
    assert came.said[rpc.HELD_METADATA] == str(held)
    assert came.messages


def test_an_upload_that_breaks_before_it_goes_on_is_still_there(channel, sent):
    messages = broken(channel, sent, 2)
    assert asked(channel, messages[:1]).reason == Reason.MALFORMED
    held = Position.after(messages[1:3])
    came = asked(channel, [messages[0], encode_continuation(held), messages[3]])
    assert came.said[rpc.HELD_METADATA] == str(held)
    assert came.messages


def test_who_knows_nothing_of_resuming_begins_anew(channel, sent):
    messages = broken(channel, sent, 2)
    came = asked(channel, messages)
    assert rpc.HELD_METADATA in came.said
    assert len(came.messages) > 1


@pytest.mark.rejects("C-107")
@pytest.mark.parametrize(
    "lie",
    [
        lambda held: Position(held.messages, bytes(32)),
        lambda held: Position(held.messages + 1, held.digest),
        lambda held: Position(held.messages - 1, held.digest),
        lambda held: Position((1 << 32) - 1, held.digest),
    ],
)
def test_who_goes_on_from_somewhere_else_is_refused_and_may_begin_anew(channel, sent, lie):
    messages = broken(channel, sent, 2)
    claimed = lie(Position.after(messages[1:3]))
    came = asked(channel, [messages[0], encode_continuation(claimed), *messages[3:]])
    assert came.reason == Reason.REQUEST_REFUSED
    again = asked(channel, messages)
    assert rpc.HELD_METADATA not in again.said
    assert again.messages


@pytest.mark.rejects("C-107")
def test_nobody_goes_on_with_what_is_not_there_or_another_ones(channel, sent):
    messages = broken(channel, sent, 2)
    held = Position.after(messages[1:3])
    other = fresh(sent)
    came = asked(channel, [other[0], encode_continuation(held), *other[3:]])
    assert rpc.HELD_METADATA not in came.said
    assert came.reason == Reason.MALFORMED
    assert asked(channel, [messages[0], encode_continuation(held), messages[3]]).messages


def test_a_continuation_comes_after_the_header_only(channel, sent):
    messages = fresh(sent)
    held = Position.after(messages[1:3])
    came = asked(channel, [*messages[:3], encode_continuation(held), messages[3]])
    assert came.reason == Reason.MALFORMED


def test_an_upload_that_was_malformed_is_not_kept(channel, sent):
    messages = fresh(sent)
    assert asked(channel, [*messages[:2], messages[1]]).reason == Reason.MALFORMED
    assert rpc.HELD_METADATA not in asked(channel, messages).said


@pytest.fixture(scope="module")
def answered(channel, sent) -> tuple[list[bytes], list[bytes]]:
    """A request that was answered, and its answer."""
    messages = fresh(sent)
    return messages, asked(channel, messages).messages


@pytest.mark.accepts("C-107")
@pytest.mark.parametrize("count", [1, 2, -1])
def test_an_answer_goes_on_where_it_broke(channel, answered, count: int):
    messages, whole = answered
    had = whole[:count] if count > 0 else whole
    position = str(Position.after(had))
    came = asked(channel, messages[:1], (rpc.RECEIVED_METADATA, position))
    assert came.said[rpc.CONTINUES_METADATA] == position
    assert came.messages == whole[len(had) :]


@pytest.mark.parametrize(
    "claim",
    [
        lambda whole: str(Position(len(whole) + 1, Position.after(whole).digest)),
        lambda whole: str(Position.after([*whole, b"more"])),
        lambda whole: str(Position(1 << 17, bytes(32))),
        lambda whole: str(Position(1, bytes(32))),
        lambda whole: "99999999999999:" + "0" * 64,
        lambda whole: "-1:" + "0" * 64,
        lambda whole: "nonsense",
    ],
)
def test_who_has_something_else_gets_the_whole_answer(channel, answered, claim):
    messages, whole = answered
    came = asked(channel, messages[:1], (rpc.RECEIVED_METADATA, claim(whole)))
    assert rpc.CONTINUES_METADATA not in came.said
    assert came.messages == whole


def test_who_claims_to_have_an_answer_before_there_is_one_gets_it_all(channel, sent, answered):
    claim = (rpc.RECEIVED_METADATA, str(Position.after(answered[1])))
    came = asked(channel, fresh(sent), claim)
    assert rpc.CONTINUES_METADATA not in came.said
    assert len(came.messages) == len(answered[1])


def test_the_client_goes_on_by_itself(world: World, monkeypatch):
    taken: list[int] = []
    take = ParkedUploads.take

    def spied(uploads, name):
        found = take(uploads, name)
        taken.append(len(found))
        return found

    monkeypatch.setattr(ParkedUploads, "take", spied)
    rows = records(3)
    with proxied(world.address) as proxy:
        cuts: list[int] = []

        def cut(done: float) -> None:
            if done > 0.3 and not cuts:
                time.sleep(0.3)  # what was sent before arrives
                cuts.append(proxy.cut())

        with client_of(world, proxy.address, meter=cut) as client:
            result = client.predict(rows, packing="batch")
    assert cuts
    assert max(taken) > 0
    assert result.labels == labels_of(world, rows)


def labels_of(world: World, rows) -> object:
    with world.client("public") as client:
        return client.predict(rows, packing="batch").labels


def client_of(world: World, address: str, **changes: object):
    """A client of the public model, by way of something else."""
    direct, world.address = world.address, address
    try:
        return world.client("public", **changes)
    finally:
        world.address = direct


@pytest.mark.rejects("C-106")
def test_who_has_used_up_a_quota_is_told_when_to_come_back(world: World, tmp_path):
    settings = world.settings.model_copy(update={"quota_requests": 1.0, "state": tmp_path})
    with (
        server_thread(settings) as address,
        client_of(world, address) as client,
    ):
        client.predict(records(1))
        with pytest.raises(ServerBusyError, match="quota of requests") as caught:
            client.predict(records(1))
        assert 30 < caught.value.retry_after_seconds <= 60
