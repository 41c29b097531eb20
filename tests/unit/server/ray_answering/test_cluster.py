"""A server that is to work in a cluster, and cannot."""

from __future__ import annotations

import socket
import sys
from pathlib import Path

import pytest

from server.executors import answering_of, works_at_once
from server.settings import Executor, ServerSettings
from server.starting import ServerError


def settings(home: Path, **changes: object) -> ServerSettings:
    return ServerSettings(
        tls_certificate=home / "certificate",
        tls_key=home / "key",
        models=home / "models",
        state=home / "state",
        executor=Executor.RAY,
        **changes,
    )


def test_a_cluster_and_a_number_of_workers_are_needed(tmp_path: Path):
    for given in ({"workers": 2}, {"ray_address": "127.0.0.1:6379"}):
        with pytest.raises(ServerError, match="'ray_address' and 'workers'"):
            answering_of(settings(tmp_path, **given))


def test_as_much_is_done_at_once_as_there_are_workers(tmp_path: Path):
    assert works_at_once(settings(tmp_path, workers=7)) == 7


def test_a_server_without_ray_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setitem(sys.modules, "server.ray_answering.answering", None)
    with pytest.raises(ServerError, match="with the extra 'ray'"):
        answering_of(settings(tmp_path, workers=2, ray_address="127.0.0.1:6379"))


@pytest.mark.parametrize("address", ["nowhere", "127.0.0.1:port"])
def test_an_address_that_is_none_is_refused_at_once(tmp_path: Path, address: str):
    pytest.importorskip("ray")
    with pytest.raises(ServerError, match=f"there is no Ray cluster at {address}"):
        answering_of(settings(tmp_path, workers=2, ray_address=address))


def test_a_cluster_that_nobody_listens_for_is_refused_at_once(tmp_path: Path):
    pytest.importorskip("ray")
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{unused.getsockname()[1]}"
        with pytest.raises(ServerError, match="there is no Ray cluster"):
            answering_of(settings(tmp_path, workers=2, ray_address=address))
