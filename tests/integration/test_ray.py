"""A server whose workers are in a real Ray cluster of two nodes."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

import grpc
import numpy as np
import pytest

pytest.importorskip("ray")

import server.main
from benchmarks.ray_nodes import RayNodes, ray_nodes
from blindproof.authority import Authority
from blindproof.loopback import server_thread
from client_sdk import Client, KeyStore
from protocol.graph import Add, Dense, Graph, Mul, Polynomial, Scale, Selection, SumPool
from server.ray_answering.answering import InRay
from server.ray_answering.limbs import shares_of
from server.registry import ModelBundle, ModelRegistry
from server.settings import Executor, ServerSettings
from server.workers.frames import Frame, Kind
from server.workers.pool import CANCEL_SECONDS, Worker
from server.workers.recent import Recent
from tests.integration import example_models
from tests.integration.asking import Outcome, connected, eventually, infer
from tests.integration.conftest import PASSPHRASE
from tests.integration.raw_requests import fresh, messages_like
from wire import rpc
from wire.rpc import Reason

EVERY_LAYER = Graph(
    8,
    (
        SumPool(0, (2, 2, 2), (1, 2), (1, 2)),
        Selection(0, 4),
        Add(1, 2),
        Scale(3, -3),
        Mul(3, 4),
        Polynomial(1, (5, -2, 3), 2),
        Add(5, 6),
        Dense(7, 2),
    ),
)
LINEAR, NETWORK = "linear", "network"
WORKERS = 2


@dataclass
class Stage:
    """A server in a cluster.

    Attributes:
        nodes: the cluster.
        pool: the server's workers in it.
        messages: of a request that was answered, to be sent again under other ids.
    """

    nodes: RayNodes
    pool: InRay
    address: str
    ca: Path
    models: dict[str, ModelBundle]
    keys: KeyStore
    messages: list[bytes]

    def client(self, model: str = LINEAR) -> Client:
        return Client(self.address, model=self.models[model].digest, keys=self.keys, ca=self.ca)

    @property
    def workers(self) -> list[Worker]:
        return sorted(self.pool._counts.ready, key=lambda worker: worker.pid)

    def all_ready(self) -> None:
        eventually(lambda: self.pool.state.workers == WORKERS and self.pool.state.busy == 0)

    @contextmanager
    def asked(self, count: int = 1) -> Iterator[list[Future[Outcome]]]:
        """Sends requests while the workers stand still, and comes when each has one."""
        with (
            self.standing_still(),
            ThreadPoolExecutor(count) as threads,
            connected(self.address, self.ca) as channel,
        ):
            asked = [threads.submit(infer, channel, fresh(self.messages)) for _ in range(count)]
            eventually(lambda: self.pool.state.busy == count)
            yield asked

    @contextmanager
    def standing_still(self) -> Iterator[list[int]]:
        """Stops the workers' processes, and has those that are left go on."""
        pids = [worker.pid for worker in self.workers]
        for pid in pids:
            os.kill(pid, signal.SIGSTOP)
        try:
            yield pids
        finally:
            self.go_on(pids)

    def go_on(self, pids: list[int]) -> None:
        for pid in pids:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)

    @property
    def busy(self) -> Worker:
        (worker,) = self.pool._counts.busy
        return worker


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    home = tmp_path_factory.mktemp("ray")
    profile = example_models.network_profile(3, 72, 101)
    models = {
        LINEAR: example_models.bundle(example_models.linear_model()),
        NETWORK: example_models.network_bundle(EVERY_LAYER, profile),
    }
    registry = ModelRegistry(home / "models")
    for bundle in models.values():
        registry.publish(bundle)
    authority = Authority.fresh()
    ca = authority.write(home / "ca.pem")
    certificate, key = authority.issue(home, "localhost")
    keys = KeyStore(home / "keys", passphrase=PASSPHRASE)
    pools: list[InRay] = []
    made = server.main.answering_of

    def answering_of(*arguments: object) -> InRay:
        pools.append(made(*arguments))
        return pools[-1]

    with pytest.MonkeyPatch.context() as patch, ray_nodes() as nodes:
        patch.setattr(server.main, "answering_of", answering_of)
        settings = ServerSettings(
            listen="127.0.0.1:0",
            server_id="server in a cluster",
            tls_certificate=certificate,
            tls_key=key,
            models=home / "models",
            state=home / "state",
            executor=Executor.RAY,
            ray_address=nodes.address,
            ray_node_address=nodes.node_address,
            workers=WORKERS,
        )
        with server_thread(settings) as address:
            found = Stage(nodes, pools[0], address, ca, models, keys, [])
            with found.client() as client:
                evidence = client.predict(example_models.records(3), packing="batch").evidence
            found.messages = messages_like(evidence[0])
            found.all_ready()
            yield found


def test_answers_from_a_cluster_verify_like_any_others(stage: Stage):
    rows = example_models.records(3)
    with stage.client() as client:
        for packing in ("single", "batch"):
            result = client.predict(rows[:1], packing=packing)
            exact = example_models.exact_values(stage.models[LINEAR], rows[:1])
            assert np.abs(result.values - exact).max() <= result.error_bound
            assert result.soundness_bits >= 100


def test_both_nodes_are_given_work(stage: Stage):
    assert len({worker.pid for worker in stage.workers}) == WORKERS
    before = {worker.pid: worker.answered for worker in stage.workers}
    with ThreadPoolExecutor(4) as threads, connected(stage.address, stage.ca) as channel:
        asked = [threads.submit(infer, channel, fresh(stage.messages)) for _ in range(8)]
        assert all(outcome.result().code is grpc.StatusCode.OK for outcome in asked)
    # One processor each: no node has two of them.
    assert all(worker.answered > before[worker.pid] for worker in stage.workers)


def test_models_and_keys_are_put_into_the_cluster_once(
    stage: Stage, monkeypatch: pytest.MonkeyPatch
):
    put: list[Frame] = []
    original = stage.pool._objects.put

    async def noted(frame: Frame) -> object:
        put.append(frame)
        return await original(frame)

    monkeypatch.setattr(stage.pool._objects, "put", noted)
    monkeypatch.setattr(stage.pool._objects, "_recent", Recent(1 << 30))
    with connected(stage.address, stage.ca) as channel:
        for _ in range(2):
            infer(channel, fresh(stage.messages))
    supplied = [frame for frame in put if frame.kind is Kind.SUPPLY]
    assert sorted(len(frame.blobs) for frame in supplied) == [1, 3]  # a key, a model


def test_a_long_evaluation_is_shared_out_by_limbs(stage: Stage, monkeypatch: pytest.MonkeyPatch):
    network = stage.models[NETWORK]
    rows = example_models.records(5, len(network.card.features))
    answered = sum(worker.answered for worker in stage.workers)
    with stage.client(NETWORK) as client:
        client.predict(rows)  # enrols
        whole = sum(worker.answered for worker in stage.workers) - answered
        monkeypatch.setattr(
            stage.pool, "_sharing", lambda _card, _packing, idle: shares_of(3, idle)
        )
        stage.all_ready()
        result = client.predict(rows)
    error = np.abs(result.values - example_models.network_values(network, rows)).max()
    assert error <= result.error_bound
    assert result.soundness_bits >= 100
    assert whole == 2  # an enrolment, a whole answer
    assert sum(worker.answered for worker in stage.workers) == answered + whole + 3
    assert not stage.pool._objects._shares


def test_work_that_nobody_waits_for_ends_within_a_second(stage: Stage):
    stage.all_ready()
    stopped = stage.pool.state.stopped
    with stage.standing_still() as pids, connected(stage.address, stage.ca) as channel:
        call = channel.stream_stream(rpc.INFER.path)(iter(fresh(stage.messages)))
        eventually(lambda: stage.pool.state.busy == 1)
        started = time.monotonic()
        call.cancel()
        eventually(lambda: stage.pool.state.busy == 0)
        assert time.monotonic() - started < CANCEL_SECONDS + 0.75
    assert stage.pool.state.stopped == stopped + 1
    stage.all_ready()
    assert len(set(pids) & {worker.pid for worker in stage.workers}) == WORKERS - 1


def test_a_killed_worker_loses_one_request_and_is_replaced(stage: Stage):
    stage.all_ready()
    with stage.asked() as (outcome,):
        lost = stage.busy.pid
        os.kill(lost, signal.SIGKILL)
        refused = outcome.result()
    assert (refused.code, refused.reason) == (grpc.StatusCode.UNAVAILABLE, Reason.WORKER_LOST)
    stage.all_ready()
    assert lost not in {worker.pid for worker in stage.workers}
    with connected(stage.address, stage.ca) as channel:
        assert infer(channel, fresh(stage.messages)).code is grpc.StatusCode.OK


def test_a_lost_node_loses_what_it_had_and_nothing_else(stage: Stage):
    stage.all_ready()
    before = {worker.pid for worker in stage.workers}
    with stage.asked(2) as outcomes:
        stage.nodes.lose_second()
        eventually(lambda: stage.pool.state.workers == 1)
        (left,) = stage.workers
        stage.go_on([left.pid])
        reasons = sorted(outcome.result().reason for outcome in outcomes)
    assert reasons == ["", Reason.WORKER_LOST]
    assert left.pid in before
    with connected(stage.address, stage.ca) as channel:
        assert infer(channel, fresh(stage.messages)).code is grpc.StatusCode.OK
