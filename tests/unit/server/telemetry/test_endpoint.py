"""The endpoint answers operators, and nobody who is slow, many or malformed can hold it."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from contextlib import asynccontextmanager

import pytest

from server.telemetry import endpoint
from server.telemetry.endpoint import Endpoint, EndpointError, Page


@asynccontextmanager
async def serving(ready=True, metrics=lambda: Page(b"up 1\n")):
    answering = Endpoint(lambda: None, metrics, lambda: ready)
    async with answering.serving("127.0.0.1:0") as url:
        yield int(url.rpartition(":")[2])


async def exchange(port, data):
    """What is answered; nothing if the connection is cut off."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(data)
        return await reader.read()
    except ConnectionError:
        return b""
    finally:
        writer.close()


def get(path, method="GET"):
    return f"{method} {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode()


@pytest.mark.parametrize(
    ("request_", "ready", "status", "body"),
    [
        (get("/metrics"), True, b"200", b"up 1\n"),
        (get("/metrics?a=b"), True, b"200", b"up 1\n"),
        (get("/healthz"), False, b"200", b"alive\n"),
        (get("/readyz"), True, b"200", b"ready\n"),
        (get("/readyz"), False, b"503", b"not ready\n"),
        (get("/readyz", "HEAD"), True, b"200", b""),
        (get("/metrics", "POST"), True, b"405", b"Method Not Allowed\n"),
        (get("/../etc/passwd"), True, b"404", b"Not Found\n"),
        (b"\x16\x03\x01\r\n\r\n", True, b"400", b"Bad Request\n"),
        (b"GET /metrics SMTP/1\r\n\r\n", True, b"400", b"Bad Request\n"),
    ],
)
def test_answers(request_, ready, status, body):
    async def ask():
        async with serving(ready) as port:
            return await exchange(port, request_)

    head, _, found = asyncio.run(ask()).partition(b"\r\n\r\n")
    assert head.split(b" ")[1] == status
    assert found == body
    if body:
        assert f"Content-Length: {len(body)}".encode() in head


def test_a_head_without_end_is_not_kept():
    async def ask():
        async with serving() as port:
            return await exchange(port, b"GET /" + b"a" * 2 * endpoint.MAX_HEAD_BYTES)

    assert asyncio.run(ask()) == b""


def test_a_silent_peer_is_left_in_time(monkeypatch):
    monkeypatch.setattr(endpoint, "EXCHANGE_SECONDS", 0.05)

    async def ask():
        async with serving() as port, asyncio.timeout(5):
            return await exchange(port, b"GET /healthz")

    assert asyncio.run(ask()) == b""


def test_connections_are_bounded_and_their_places_come_back(monkeypatch):
    monkeypatch.setattr(endpoint, "MAX_CONNECTIONS", 2)

    async def ask():
        release = threading.Event()

        def metrics():
            release.wait(5)
            return Page(b"")

        async with serving(metrics=metrics) as port:
            held = [asyncio.create_task(exchange(port, get("/metrics"))) for _ in range(2)]
            await asyncio.sleep(0.05)
            refused = await exchange(port, get("/healthz"))
            release.set()
            await asyncio.gather(*held)
            return refused, await exchange(port, get("/healthz"))

    refused, served = asyncio.run(ask())
    assert refused == b""
    assert served.endswith(b"alive\n")


def test_whoever_says_nothing_makes_way_for_whoever_does(monkeypatch):
    """A server is restarted if its probe is not answered: nobody brings that about by silence."""
    monkeypatch.setattr(endpoint, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(endpoint, "EXCHANGE_SECONDS", 2)

    async def ask():
        async with serving() as port:
            held = []
            for said in (b"", b"GET /healthz HTTP/1.1\r\n"):
                held.append(asyncio.create_task(exchange(port, said)))
                await asyncio.sleep(0.05)
            answers = []
            for _ in range(4):
                answers.append(await exchange(port, get("/healthz")))
                await asyncio.sleep(0.05)
            gone = [task.done() for task in held]
            await asyncio.gather(*held)
            return answers, gone

    answers, gone = asyncio.run(ask())
    assert all(answer.endswith(b"alive\n") for answer in answers)
    assert gone == [True, False], "the oldest goes, and only when there is no place"


def test_whoever_does_not_read_makes_way_as_well(monkeypatch):
    monkeypatch.setattr(endpoint, "MAX_CONNECTIONS", 1)

    async def ask():
        async with serving(metrics=lambda: Page(bytes(1 << 26))) as port:
            reader, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
            writer.write(get("/metrics"))
            await reader.readuntil(b"\r\n\r\n")
            answer = await exchange(port, get("/healthz"))
            with contextlib.suppress(ConnectionError):
                assert len(await reader.read()) < 1 << 26
            writer.close()
            return answer

    assert asyncio.run(ask()).endswith(b"alive\n")


def test_metrics_are_made_beside_the_loop():
    """A slow page of metrics delays no call."""

    async def ask():
        release = asyncio.Event()
        loop = asyncio.get_running_loop()

        def metrics():
            asyncio.run_coroutine_threadsafe(release.wait(), loop).result(5)
            return Page(b"")

        async with serving(metrics=metrics) as port:
            slow = asyncio.create_task(exchange(port, get("/metrics")))
            assert (await exchange(port, get("/healthz"))).endswith(b"alive\n")
            assert not slow.done()
            release.set()
            return await slow

    assert asyncio.run(ask()).startswith(b"HTTP/1.1 200")


def test_an_address_in_use_is_said():
    async def ask():
        other = Endpoint(lambda: None, lambda: Page(b""), lambda: True)
        async with serving() as port, other.serving(f"127.0.0.1:{port}"):
            pass

    with pytest.raises(EndpointError, match="cannot be served on"):
        asyncio.run(ask())
