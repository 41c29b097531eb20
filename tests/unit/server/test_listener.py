"""Connections cost a bounded number of places and a bounded time, whatever their peers do."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import httpx
import pytest

from server.listener import PEER
from tests.unit.server.https_server import CLIENT, LIMITS, https_server

REQUEST = b"GET / HTTP/1.1\r\nHost: localhost\r\n\r\n"
SOON = 4.0


async def answer(send, body: bytes) -> None:
    await send({"type": "http.response.start", "status": 200, "headers": []})
    await send({"type": "http.response.body", "body": body})


async def hello(scope, receive, send) -> None:
    await answer(send, b"hello")


class Endless:
    """Answers when it is told to, and notes when its peer has gone."""

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.release = threading.Event()
        self.gone = threading.Event()

    async def __call__(self, scope, receive, send) -> None:
        self.begun.set()
        peer = scope["state"][PEER]
        while not self.release.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(peer.gone.wait(), 0.02)
                self.gone.set()
                return
        await answer(send, b"at last")


def test_connections_count_before_their_handshake(tmp_path):
    limits = replace(LIMITS, connections=2, quiet_seconds=1.0)
    with https_server(hello, tmp_path, limits) as server:
        silent = [server.plain() for _ in range(2)]
        time.sleep(0.1)
        begun = time.monotonic()
        assert server.exchange(REQUEST) == b""
        for connection in silent:
            with connection:
                assert connection.recv(1) == b"", "the server hangs up"
        assert 0.5 < time.monotonic() - begun < SOON
        assert b"hello" in server.exchange(
            REQUEST.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n")
        )


@pytest.mark.parametrize("said", [b"", b"GET / HT", REQUEST + b"GET / HT"])
def test_a_peer_that_ends_no_header_is_hung_up_on(tmp_path, said):
    with https_server(hello, tmp_path, replace(LIMITS, quiet_seconds=0.5)) as server:
        begun = time.monotonic()
        answered = server.exchange(said)
        assert time.monotonic() - begun < SOON
        assert (b"hello" in answered) == (REQUEST in said)


def test_drops_of_a_header_do_not_prolong_the_wait(tmp_path):
    with (
        https_server(hello, tmp_path, replace(LIMITS, quiet_seconds=0.5)) as server,
        server.connected() as connection,
    ):
        begun = time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - begun < SOON:
                connection.sendall(b"X")
                time.sleep(0.05)
        assert time.monotonic() - begun < SOON


def test_limits_are_those_of_the_moment(tmp_path):
    present = replace(LIMITS, quiet_seconds=60.0, request_seconds=60.0)
    endless = Endless()
    with https_server(endless, tmp_path, lambda: present) as server:
        present = replace(LIMITS, quiet_seconds=0.3, request_seconds=0.5)
        begun = time.monotonic()
        assert server.exchange(b"") == server.exchange(REQUEST) == b""
        assert endless.gone.wait(SOON)
        with server.plain() as silent:
            assert silent.recv(1) == b""
        assert time.monotonic() - begun < 2 * SOON
        present = replace(present, connections=0)
        assert server.exchange(REQUEST) == b""
        endless.gone.clear()
        present = replace(LIMITS, request_seconds=60.0, shutdown_seconds=1.0)
        held = server.connected()
        held.sendall(REQUEST)
        time.sleep(0.1)
        begun = time.monotonic()
    held.close()
    assert time.monotonic() - begun < 2 * SOON


def test_a_request_takes_its_time_and_no_more(tmp_path):
    endless = Endless()
    limits = replace(LIMITS, quiet_seconds=0.2, request_seconds=1.0)
    with https_server(endless, tmp_path, limits) as server:
        begun = time.monotonic()
        assert server.exchange(REQUEST) == b""
        assert 0.9 < time.monotonic() - begun < SOON
        assert endless.gone.wait(SOON)


def test_one_connection_serves_many_requests(tmp_path):
    with https_server(hello, tmp_path) as server, server.client() as client:
        assert [client.get("/").text for _ in range(3)] == ["hello"] * 3


def test_a_peer_that_leaves_is_noticed(tmp_path):
    endless = Endless()
    with https_server(endless, tmp_path) as server:
        with server.connected() as connection:
            connection.sendall(REQUEST)
            assert endless.begun.wait(SOON)
            assert not endless.gone.is_set()
        assert endless.gone.wait(SOON)


def test_an_answer_under_way_is_given_when_the_server_stops(tmp_path):
    endless = Endless()
    with ThreadPoolExecutor(1) as pool:
        with https_server(endless, tmp_path) as server:
            asked = pool.submit(server.exchange, REQUEST)
            assert endless.begun.wait(SOON)
            threading.Timer(0.3, endless.release.set).start()
        assert b"at last" in asked.result(SOON)


def test_silent_connections_do_not_hold_up_the_stop(tmp_path):
    with contextlib.ExitStack() as stack:
        with https_server(hello, tmp_path, replace(LIMITS, quiet_seconds=60.0)) as server:
            stack.enter_context(server.plain())
            stack.enter_context(server.connected())
            time.sleep(0.1)
            begun = time.monotonic()
        assert time.monotonic() - begun < SOON


@pytest.mark.parametrize("mutual", [True, False])
def test_names_are_those_of_a_certificate_that_was_verified(tmp_path, mutual):
    async def names(scope, receive, send) -> None:
        await answer(send, ",".join(scope["state"][PEER].common_names).encode())

    with https_server(names, tmp_path, mutual=mutual) as server:
        with server.client(CLIENT) as client:
            assert client.get("/").text == (CLIENT if mutual else "")
        with server.client() as client:
            if mutual:
                with pytest.raises((httpx.HTTPError, ssl.SSLError)):
                    client.get("/")
            else:
                assert client.get("/").text == ""
