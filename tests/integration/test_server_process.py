"""A server in a process of its own: quick to start, healthy, and gone when told to stop."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from blindproof.demo.local_server import LocalServerError, server_process
from tests.integration.conftest import World
from wire import rpc

START_SECONDS = 3.0


@pytest.fixture
def settings(world: World, tmp_path):
    return world.settings.model_copy(
        update={"state": tmp_path / "state", "address_file": tmp_path / "address"}
    )


def test_it_is_healthy_within_three_seconds(world: World, settings):
    started = time.perf_counter()
    with server_process(settings) as address:
        credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
        with grpc.secure_channel(address, credentials) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            for service in ("", rpc.MODEL_SERVICE, rpc.KEY_SERVICE, rpc.INFERENCE_SERVICE):
                answer = health.Check(health_pb2.HealthCheckRequest(service=service), timeout=5)
                assert answer.status == health_pb2.HealthCheckResponse.SERVING
        assert time.perf_counter() - started < START_SECONDS


def test_plain_text_connections_get_nothing(settings):
    with server_process(settings) as address, grpc.insecure_channel(address) as channel:
        call = channel.unary_unary(rpc.LIST_MODELS.path)
        with pytest.raises(grpc.RpcError) as caught:
            call(b"", timeout=5)
    assert caught.value.code() is grpc.StatusCode.UNAVAILABLE


def test_a_server_that_cannot_start_is_reported(settings, tmp_path):
    broken = settings.model_copy(update={"tls_key": tmp_path / "missing"})
    with pytest.raises(LocalServerError, match="stopped with status"), server_process(broken):
        raise AssertionError("started without a key")


def test_its_log_is_json_and_holds_no_payload(world: World, settings, tmp_path):
    variables = {
        f"BLINDPROOF_{name.upper()}": str(value)
        for name, value in settings.model_dump(exclude_none=True).items()
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "server"],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), **variables},
            stdout=log,
        )
        while not settings.address_file.exists():
            assert process.poll() is None
            time.sleep(0.01)
        credentials = grpc.ssl_channel_credentials(world.ca.read_bytes())
        address = settings.address_file.read_text()
        with grpc.secure_channel(address, credentials) as channel, pytest.raises(grpc.RpcError):
            channel.unary_unary(rpc.GET_MODEL.path)(b"\n\x0apayload-xx", timeout=5)
        process.terminate()
        assert process.wait() == 0
    lines = [json.loads(line) for line in (tmp_path / "log").read_text().splitlines()]
    assert [line["event"] for line in lines] == ["serving", "call refused", "stopped"]
    assert "payload" not in (tmp_path / "log").read_text()
