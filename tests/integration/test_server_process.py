"""A server in a process of its own: quick to start, healthy, and gone when told to stop."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from blindproof.loopback import LocalServerError, server_process
from tests.integration.conftest import World
from wire import rpc
from wire.models import decode_list, encode_list_request, encode_model_request

START_SECONDS = 3.0


@pytest.fixture
def settings(world: World, tmp_path):
    return world.settings.model_copy(
        update={"state": tmp_path / "state", "address_file": tmp_path / "address"}
    )


def seconds_to_health(world: World, settings) -> float:
    started = time.perf_counter()
    with server_process(settings) as (address, _):
        credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
        with grpc.secure_channel(address, credentials) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for service in ("", rpc.MODEL_SERVICE, rpc.KEY_SERVICE, rpc.INFERENCE_SERVICE):
                answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
        return time.perf_counter() - started


def test_it_is_healthy_within_three_seconds(world: World, settings):
    # The best of three: a busy machine may delay one start, a slow start delays them all.
    assert min(seconds_to_health(world, settings) for _ in range(3)) < START_SECONDS


def test_plain_text_connections_get_nothing(settings):
    with server_process(settings) as (address, _), grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(rpc.LIST_MODELS.path)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_server_that_cannot_start_is_reported(settings, tmp_path):
    broken = settings.model_copy(update={"tls_key": tmp_path / "missing"})
    with pytest.raises(LocalServerError, match="stopped with status"), server_process(broken):
        raise AssertionError("started without a key")


def variables(settings) -> dict[str, str]:
    """The environment of a server process."""
    given = {
        f"BLINDPROOF_{name.upper()}": str(value)
        for name, value in settings.model_dump(exclude_none=True).items()
    }
    return {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **given}


def log_of(world: World, settings, path, call: Callable[[grpc.Channel], None]) -> list[dict]:
    """What a server process logs about a call, from its start to its end."""
    with path.open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "server"], env=variables(settings), stdout=log
        )
        try:
            while not settings.address_file.exists():
                assert process.poll() is None
                time.sleep(0.01)
            credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
            with grpc.secure_channel(settings.address_file.read_text(), credentials) as channel:
                call(channel)
        finally:
            process.terminate()
            assert process.wait() == 0
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_its_log_is_json_and_holds_no_payload(world: World, settings, tmp_path):
    def call(channel: grpc.Channel) -> None:
        with pytest.raises(grpc.RpcError):
            channel.unary_unary(rpc.GET_MODEL.path)(b"\n\x0apayload-xx", timeout=5)

    lines = log_of(world, settings, tmp_path / "log", call)
    assert [line["event"] for line in lines] == [
        "new state created",
        "serving",
        "call refused",
        "stopped",
    ]
    assert "payload" not in (tmp_path / "log").read_text()


def test_a_damaged_model_is_the_operators_business(world: World, settings, tmp_path):
    """The others are served; the client learns nothing of the disk, the log names the path."""
    models, digest = tmp_path / "models", world.models["private"].digest
    shutil.copytree(world.settings.models, models)
    damaged = models / digest.hex()
    (damaged / "card.bin").write_bytes(b"damaged")

    def call(channel: grpc.Channel) -> None:
        listed = channel.unary_unary(rpc.LIST_MODELS.path)(encode_list_request(), timeout=5)
        shown = {model.digest for model in decode_list(listed).models}
        published = {bytes.fromhex(path.name) for path in models.iterdir() if path.is_dir()}
        assert shown == published - {digest}
        assert world.models["public"].digest in shown
        with pytest.raises(grpc.RpcError) as caught:
            channel.unary_unary(rpc.GET_MODEL.path)(encode_model_request(digest), timeout=5)
        assert caught.value.code() is grpc.StatusCode.INTERNAL
        assert caught.value.details() == "internal error"

    settings = settings.model_copy(update={"models": models})
    lines = log_of(world, settings, tmp_path / "log", call)
    (skipped,) = (line for line in lines if line["event"] == "model skipped")
    assert (skipped["level"], skipped["path"]) == ("error", str(damaged))
    (failed,) = (line for line in lines if line["event"] == "call failed")
    assert str(damaged) in failed["exception"]


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"LISTEN": "nowhere"}, "expected host:port"),
        ({"MAX_REQUESTS": "many"}, "setting 'max_requests' (BLINDPROOF_MAX_REQUESTS)"),
        ({"MODELS": "/nonexistent"}, "/nonexistent: no model directory"),
    ],
)
def test_bad_settings_are_one_line_and_exit_code_2(settings, changes, message: str):
    environment = variables(settings)
    environment |= {f"BLINDPROOF_{name}": value for name, value in changes.items()}
    ended = subprocess.run(
        [sys.executable, "-m", "server"],
        env=environment,
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert ended.returncode == 2
    assert ended.stderr.startswith("error: ")
    assert ended.stderr.count("\n") == 1
    assert message in ended.stderr
