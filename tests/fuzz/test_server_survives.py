"""Random bytes at every procedure: typed statuses only, and the server lives on."""

from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest

from blindproof.demo.cheats import Cheat
from tests.integration.conftest import World
from tests.integration.example_models import records
from tests.integration.raw_requests import fresh, messages_like
from wire import rpc
from wire.rpc import Reason

MESSAGES = 2000
CONCURRENT = 16
TYPED = {
    grpc.StatusCode.INVALID_ARGUMENT,
    grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.FAILED_PRECONDITION,
    grpc.StatusCode.PERMISSION_DENIED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
}


def junk(rng: random.Random) -> bytes:
    """Bytes that are often nearly a message: a tag, a length, then anything."""
    body = rng.randbytes(rng.choice((0, 1, 2, 16, 32, 33, 200, 5000)))
    if rng.random() < 0.7:
        tag = rng.randrange(1, 12) << 3 | rng.choice((0, 2, 2, 2, 1, 5))
        body = bytes([tag]) + _varint(rng.choice((len(body), rng.randrange(1 << 40)))) + body
    return body


def _varint(value: int) -> bytes:
    out = bytearray()
    while value >= 0x80:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    return bytes([*out, value])


def mutated(messages: list[bytes], rng: random.Random) -> list[bytes]:
    """A recorded request with one thing wrong with it, or two."""
    changed = list(messages)
    for _ in range(rng.choice((1, 1, 2))):
        index = rng.randrange(len(changed))
        message = bytearray(changed[index])
        action = rng.randrange(5)
        if action == 0:
            message[rng.randrange(min(300, len(message)))] ^= 1 << rng.randrange(8)
        elif action == 1:
            del message[rng.randrange(len(message)) :]
        elif action == 2:
            message += junk(rng)
        elif action == 3:
            changed.insert(rng.randrange(len(changed) + 1), junk(rng))
            continue
        else:
            other = rng.randrange(len(changed))
            changed[index], changed[other] = changed[other], changed[index]
            continue
        changed[index] = bytes(message)
    return changed


def statuses(world: World, method: rpc.Method, requests: list[list[bytes]]):
    """Statuses and reasons of one call per request; unary ones take its first message."""
    credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
    with (
        grpc.secure_channel(world.address, credentials) as channel,
        ThreadPoolExecutor(CONCURRENT) as pool,
    ):
        calls = {
            rpc.INFER: lambda m: list(channel.stream_stream(method.path)(iter(m), timeout=60)),
            rpc.COMPLETE_ENROLMENT: lambda m: channel.stream_unary(method.path)(
                iter(m), timeout=60
            ),
        }
        call = calls.get(method, lambda m: channel.unary_unary(method.path)(m[0], timeout=60))

        def one(messages: list[bytes]):
            try:
                call(messages)
            except grpc.RpcError as error:
                return error.code(), dict(error.trailing_metadata()).get(rpc.REASON_METADATA)
            return grpc.StatusCode.OK, None

        return list(pool.map(one, requests))


def check(outcomes) -> None:
    for status, reason in outcomes:
        if status is not grpc.StatusCode.OK:
            assert status in TYPED
            assert Reason(reason) is not Reason.INTERNAL


@pytest.mark.parametrize(
    "method",
    [rpc.LIST_MODELS, rpc.GET_MODEL, rpc.BEGIN_ENROLMENT, rpc.COMPLETE_ENROLMENT, rpc.INFER],
    ids=lambda method: method.name,
)
def test_random_messages_get_typed_statuses(world: World, method: rpc.Method):
    rng = random.Random(f"fuzz {method.name}")
    requests = [[junk(rng) for _ in range(rng.choice((1, 1, 2)))] for _ in range(MESSAGES)]
    check(statuses(world, method, requests))


def test_mutated_requests_get_typed_statuses_and_the_next_client_is_served(world: World):
    world.engine.cheat = Cheat.NONE
    rng = random.Random("fuzz mutations")
    with world.client() as client:
        evidence = client.predict(records(1)).evidence[0]
    recorded = messages_like(evidence)
    check(statuses(world, rpc.INFER, [mutated(fresh(recorded), rng) for _ in range(200)]))
    with world.client() as client:
        result = client.predict(records(2))
    assert result.soundness_bits >= 100
