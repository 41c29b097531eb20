from __future__ import annotations

import socket
import ssl
from contextlib import ExitStack

import httpx
import pytest

from blindproof.authority import Authority
from tests.unit.audit.example_receipts import LOG_KEY
from tests.unit.witness.conftest import NAME
from tests.unit.witness.serving import witness_thread
from tests.unit.witness.watched_log import asking, grow, watched_log
from wire import bounded_http
from witness.add_checkpoint import MAX_BODY_BYTES
from witness.errors import WitnessServiceError
from witness.keys import SEEN_FILE
from witness.settings import WitnessSettings


@pytest.fixture
def settings(state) -> WitnessSettings:
    return WitnessSettings(state=state, logs=(LOG_KEY.encoded(),), listen="127.0.0.1:0")


@pytest.fixture
def log(tmp_path):
    return watched_log(tmp_path / "log", 3)


def post(url, body, **options):
    return httpx.post(f"{url}/add-checkpoint", content=body, trust_env=False, **options)


def test_answers_have_the_statuses_and_types_of_the_specification(settings, log):
    with witness_thread(settings) as url:
        accepted = post(url, asking(log, 0))
        assert accepted.status_code == 200
        assert accepted.text.startswith(f"\N{EM DASH} {NAME} ")
        assert accepted.text.endswith("\n")
        behind = post(url, asking(log, 0))
        assert (behind.status_code, behind.content) == (409, b"3\n")
        assert behind.headers["content-type"] == "text/x.tlog.size"
        assert post(url, b"nonsense").status_code == 400
        grow(log, 2)
        wrong = asking(log, 3).replace(b"old 3\n", b"old 3\n" + b"A" * 43 + b"=\n")
        assert post(url, wrong).status_code == 422
        assert httpx.get(f"{url}/add-checkpoint", trust_env=False).status_code == 405
        for path in ("/", "/docs", "/openapi.json"):
            assert httpx.get(f"{url}{path}", trust_env=False).status_code == 404


def test_bodies_are_bounded_however_they_are_announced(settings):
    with witness_thread(settings) as url:
        assert post(url, b"x" * (MAX_BODY_BYTES + 1)).status_code == 413
        assert post(url, iter([b"x" * MAX_BODY_BYTES, b"x"])).status_code == 413
        assert post(url, b"x" * MAX_BODY_BYTES).status_code == 400


def test_slow_bodies_are_not_waited_for(settings):
    with witness_thread(settings.model_copy(update={"body_seconds": 0.2})) as url:
        host, port = url.removeprefix("http://").split(":")
        with socket.create_connection((host, int(port)), timeout=10) as connection:
            connection.sendall(
                b"POST /add-checkpoint HTTP/1.1\r\nhost: w\r\ncontent-length: 9\r\n\r\nold"
            )
            assert connection.recv(100).startswith(b"HTTP/1.1 408 ")


def test_peers_that_say_nothing_keep_no_places(settings, log, monkeypatch):
    monkeypatch.setattr(bounded_http, "CONNECTION_SECONDS", 1.0)
    with (
        witness_thread(settings.model_copy(update={"max_requests": 2})) as url,
        ExitStack() as all_,
    ):
        host, port = url.removeprefix("http://").split(":")
        silent = [
            all_.enter_context(socket.create_connection((host, int(port)), timeout=10))
            for _ in range(2)
        ]
        assert post(url, asking(log, 0)).status_code == 503
        silent[1].sendall(b"POST /add-ch")
        for connection in silent:
            assert connection.recv(1) == b"", "the witness hangs up"
        assert post(url, asking(log, 0)).status_code == 200


def test_without_its_database_nothing_is_signed(settings, log, state):
    with witness_thread(settings) as url:
        assert post(url, asking(log, 0)).status_code == 200
        for path in state.glob(f"{SEEN_FILE}*"):
            path.rename(path.with_name(f"gone-{path.name}"))
        grow(log, 1)
        failed = post(url, asking(log, 3))
        assert (failed.status_code, failed.text) == (503, "nothing was signed\n")
        for path in state.glob(f"gone-{SEEN_FILE}*"):
            path.rename(path.with_name(path.name.removeprefix("gone-")))
        assert post(url, asking(log, 3)).status_code == 200


def test_tls_is_served_with_the_certificate_given(settings, log, tmp_path):
    authority = Authority.fresh()
    certificate, key = authority.issue(tmp_path, "witness")
    chosen = settings.model_copy(update={"tls_certificate": certificate, "tls_key": key})
    with witness_thread(chosen) as url:
        assert url.startswith("https://127.0.0.1:")
        trusting = ssl.create_default_context(cafile=authority.write(tmp_path / "ca.pem"))
        assert post(url, asking(log, 0), verify=trusting).status_code == 200
        with pytest.raises(httpx.ConnectError, match="certificate"):
            post(url, asking(log, 0))


def test_a_certificate_of_another_key_stops_the_start(settings, tmp_path):
    certificate, _ = Authority.fresh().issue(tmp_path, "witness")
    _, key = Authority.fresh().issue(tmp_path, "other")
    chosen = settings.model_copy(update={"tls_certificate": certificate, "tls_key": key})
    with (
        pytest.raises(WitnessServiceError, match="no certificate and its key"),
        witness_thread(chosen),
    ):
        pass


def test_the_address_is_written_when_requests_are_answered(settings, tmp_path):
    path = tmp_path / "address"
    with witness_thread(settings.model_copy(update={"address_file": path})) as url:
        assert path.read_text() == url


def test_an_address_in_use_stops_the_start(settings):
    with ExitStack() as stack:
        url = stack.enter_context(witness_thread(settings))
        taken = settings.model_copy(update={"listen": url.removeprefix("http://")})
        with pytest.raises(WitnessServiceError, match="cannot listen"):
            stack.enter_context(witness_thread(taken))
