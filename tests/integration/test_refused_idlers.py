"""Peers who open calls and do nothing keep nobody else out."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import grpc
import pytest

from blindproof.demo.cheats import Cheat
from blindproof.loopback import server_thread
from client_sdk import Client
from protocol.keys import KeyRequest
from tests.integration.asking import eventually
from tests.integration.asking import infer as asked
from tests.integration.conftest import World
from tests.integration.example_models import records
from tests.integration.raw_requests import fresh, messages_like
from wire import rpc
from wire.enrolment import encode_begin
from wire.rpc import Reason


@pytest.fixture
def sent(world: World) -> list[bytes]:
    """The messages of a request that a server of the world's state accepts."""
    world.engine.cheat = Cheat.NONE
    with world.client() as client:
        evidence = client.predict(records(2), packing="batch").evidence[0]
    return messages_like(evidence)


@contextmanager
def channel_to(world: World, **changes: object) -> Iterator[grpc.Channel]:
    settings = world.settings.model_copy(update=changes)
    credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
    with (
        server_thread(settings, world.engine) as address,
        grpc.secure_channel(address, credentials) as channel,
    ):
        yield channel


def stalling(messages: list[bytes], release: threading.Event) -> Iterator[bytes]:
    yield from messages
    release.wait(30)


def reason_of(call) -> tuple[grpc.StatusCode, str]:
    with pytest.raises(grpc.RpcError) as caught:
        list(call)
    trailing = dict(caught.value.trailing_metadata())
    return caught.value.code(), trailing.get(rpc.REASON_METADATA, "")


TOO_SLOW = (grpc.StatusCode.DEADLINE_EXCEEDED, Reason.TOO_SLOW)


@pytest.mark.parametrize("method", [rpc.INFER, rpc.COMPLETE_ENROLMENT])
def test_streams_without_a_header_hold_no_slot_and_soon_end(world: World, sent, method: rpc.Method):
    release = threading.Event()
    with channel_to(world, max_requests=1, header_seconds=2.0) as channel:
        infer = channel.stream_stream(rpc.INFER.path)
        started = time.monotonic()
        idle = [
            channel.stream_stream(method.path)(stalling([], release), timeout=30) for _ in range(8)
        ]
        time.sleep(0.3)  # they have reached the server
        assert len(list(infer(iter(fresh(sent)), timeout=20))) > 1
        assert {reason_of(call) for call in idle} == {TOO_SLOW}
        assert time.monotonic() - started < 10
        release.set()


def test_a_pause_between_messages_frees_the_slot(world: World, sent):
    release = threading.Event()
    with channel_to(world, max_requests=1, idle_seconds=0.5) as channel:
        infer = channel.stream_stream(rpc.INFER.path)
        started = time.monotonic()
        paused = infer(stalling(fresh(sent)[:2], release), timeout=30)
        paused.initial_metadata()  # it was admitted and holds the only slot
        assert reason_of(paused) == TOO_SLOW
        assert time.monotonic() - started < 10
        release.set()
        assert len(list(infer(iter(fresh(sent)), timeout=20))) > 1


def test_a_peer_that_does_not_read_its_answer_frees_the_slot(world: World, sent, monkeypatch):
    honest, written = world.engine.answer, threading.Event()

    def answer(job):
        """Make the answer larger than any flow-control window."""
        response = honest(job)
        written.set()
        return replace(response, proof=bytes(64 << 20))

    monkeypatch.setattr(world.engine, "answer", answer)
    with channel_to(world, max_requests=1, idle_seconds=1.0) as channel:
        infer = channel.stream_stream(rpc.INFER.path)
        deaf = infer(iter(sent), timeout=60)
        assert written.wait(20)
        monkeypatch.undo()
        # The answer is archived before it is sent, and nobody reads it from then on.
        eventually(lambda: asked(channel, fresh(sent)).reason != Reason.BUSY)
        assert asked(channel, fresh(sent)).messages
        deaf.cancel()


def test_open_enrolments_keep_nobody_out(world: World, fresh_keys):
    settings = world.settings.model_copy(update={"max_enrolment_sessions": 2})
    bundle = world.models["private"]
    credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
    request = KeyRequest(
        "a squatter", settings.server_id, bundle.card.ring_degree, bundle.card.key_moduli, 1
    )
    with (
        server_thread(settings, world.engine) as address,
        grpc.secure_channel(address, credentials) as channel,
    ):
        for _ in range(5):
            channel.unary_unary(rpc.BEGIN_ENROLMENT.path)(
                encode_begin(request, bytes(32)), timeout=5
            )
        with Client(address, model=bundle.digest, keys=fresh_keys(), ca=world.ca) as client:
            assert len(client.enrol()) == 32
