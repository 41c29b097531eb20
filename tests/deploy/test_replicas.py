"""Two server processes over one database and one state directory: one log, one set of keys.

This is what deploy/kubernetes/scaled runs, and what docs/operations.md promises of it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random

import pytest
from sqlalchemy import make_url

from audit.log_check import check_log
from audit.receipt import Action, Outcome
from blindproof.authority import Authority
from client_sdk import Client, KeyStore
from protocol.parameters import Mode, Packing
from server.registry import ModelBundle, ModelRegistry
from server.settings import ServerSettings
from tests.deploy.manifests import one
from tests.faults.asking import Exchange, Prepared, Question, ask, channel
from tests.integration import example_models
from tests.integration.asking import trail_of
from tests.unit.audit.postgresql_cluster import Cluster, find_binaries

QUESTIONS = 24
CONNECTIONS = 2
START_SECONDS = 30.0


@dataclass(frozen=True)
class Replicas:
    """Two servers that share everything but their address.

    Attributes:
        settings: of the first; those of the second differ in `address_file` alone.
        addresses: where they listen.
        processes: what runs.
    """

    settings: ServerSettings
    ca: Path
    models: dict[str, ModelBundle]
    keys: KeyStore
    addresses: tuple[str, str]
    processes: tuple[subprocess.Popen[bytes], ...]

    def client(self, address: str, model: str) -> Client:
        return Client(address, model=self.models[model].digest, keys=self.keys, ca=self.ca)


@pytest.fixture(scope="module")
def database(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A PostgreSQL, and the URL that the manifests have; without it, CI fails."""
    binaries = find_binaries()
    if binaries is None:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("PostgreSQL is not installed: neither initdb on PATH nor in its usual place")
    cluster = Cluster(binaries)
    # As the manifests do it: the secret is a service file of libpq, the URL only names it.
    stated = make_url(cluster.url("postgres"))
    file = tmp_path_factory.mktemp("database") / "pg_service.conf"
    file.write_text(
        f"[blindproof]\nhost={stated.query['host']}\nuser={stated.query['user']}\n"
        f"dbname={stated.database}\n"
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PGSERVICEFILE", str(file))
        settings = tomllib.loads(one("scaled", "ConfigMap")["data"]["blindproof.toml"])
        yield settings["audit_database"]
    cluster.remove()


@pytest.fixture(scope="module")
def replicas(database: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Replicas]:
    home = tmp_path_factory.mktemp("replicas")
    models = {
        "public": example_models.bundle(
            example_models.linear_model(name="public"), Mode.PUBLIC, (Packing.SINGLE,)
        ),
        "private": example_models.bundle(example_models.linear_model(), packings=(Packing.SINGLE,)),
    }
    registry = ModelRegistry(home / "models")
    for bundle in models.values():
        registry.publish(bundle)
    authority = Authority.fresh()
    ca = authority.write(home / "ca.pem")
    certificate, key = authority.issue(home, "localhost")
    settings = ServerSettings(
        listen="127.0.0.1:0",
        tls_certificate=certificate,
        tls_key=key,
        models=home / "models",
        state=home / "state",
        audit_database=database,
        max_requests=64,
    )
    files = [home / f"address {number}" for number in range(2)]
    # Both at once, over nothing: tables, secrets and keys are made once, by whoever comes first.
    with started(settings, files) as processes:
        yield Replicas(
            settings=settings,
            ca=ca,
            models=models,
            keys=KeyStore(home / "keys", passphrase="a passphrase for tests"),
            addresses=(files[0].read_text(), files[1].read_text()),
            processes=processes,
        )


@contextmanager
def started(
    settings: ServerSettings, address_files: list[Path]
) -> Iterator[tuple[subprocess.Popen[bytes], ...]]:
    """Servers with the same settings, all started before the first is ready."""
    given = settings.model_dump(exclude_none=True, exclude_defaults=True)
    variables = {f"BLINDPROOF_{name.upper()}": str(value) for name, value in given.items()}
    inherited = {key: value for key, value in os.environ.items() if "BLINDPROOF" not in key}
    path = {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
    processes = tuple(
        subprocess.Popen(
            [sys.executable, "-m", "server"],
            env={**inherited, **path, **variables, "BLINDPROOF_ADDRESS_FILE": str(file)},
            stdout=subprocess.DEVNULL,
        )
        for file in address_files
    )
    try:
        deadline = time.monotonic() + START_SECONDS
        while not all(file.exists() for file in address_files):
            assert [process.poll() for process in processes] == [None, None]
            assert time.monotonic() < deadline
            time.sleep(0.02)
        yield processes
    finally:
        for process in processes:
            process.send_signal(signal.SIGTERM)
        for process in processes:
            process.wait(timeout=30)


def answers(replicas: Replicas, questions: list[tuple[int, Question]]) -> list[Exchange]:
    """Ask everything at once; each question of the replica whose number stands beside it."""

    async def run() -> list[Exchange]:
        authority = replicas.ca.read_bytes()
        connections = [
            [channel(address, authority) for _ in range(CONNECTIONS)]
            for address in replicas.addresses
        ]
        try:
            return await asyncio.gather(
                *(
                    ask(connections[replica][number % CONNECTIONS], question)
                    for number, (replica, question) in enumerate(questions)
                )
            )
        finally:
            for connection in (one for pair in connections for one in pair):
                await connection.close()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def prepared(replicas: Replicas) -> dict[str, Prepared]:
    """Requests whose key was enrolled at the first replica alone."""
    found = {}
    for model in replicas.models:
        with replicas.client(replicas.addresses[0], model) as client:
            evidence = client.predict(example_models.records(1)).evidence[0]
        found[model] = Prepared.of(evidence)
    return found


def test_a_key_enrolled_at_one_is_known_to_the_other(replicas: Replicas, prepared):
    with replicas.client(replicas.addresses[1], "private") as client:
        rows = example_models.records(1)
        result = client.predict(rows)
        exact = example_models.exact_values(replicas.models["private"], rows)
        assert abs(result.values - exact).max() <= result.error_bound
    with trail_of(replicas.settings) as files:
        actions = [entry.receipt().receipt.action for entry in files.log.entries()]
    assert actions.count(Action.ENROL_KEY) == 1


def test_both_answer_at_once_into_one_log(replicas: Replicas, prepared):
    random = Random(6)
    names = list(replicas.models)
    questions = [
        (number % 2, prepared[names[number // 2 % 2]].question(random))
        for number in range(QUESTIONS)
    ]
    with trail_of(replicas.settings) as files:
        before = files.log.head().size
    exchanges = answers(replicas, questions)
    receipts = [exchange.receipt for exchange in exchanges]
    assert None not in receipts
    # No entry is given away twice, and none is lost between the two writers.
    indices = sorted(receipt.index for receipt in receipts)
    assert indices == list(range(before, before + QUESTIONS))
    with trail_of(replicas.settings) as files:
        assert check_log(files.engine, files.log_key).size == before + QUESTIONS
        for exchange in exchanges:
            entry = files.log.find_request("default", exchange.question.idempotency_digest)
            assert entry.index == exchange.receipt.index
            assert entry.receipt().receipt.outcome is Outcome.ANSWERED


def test_one_request_sent_to_both_has_one_receipt(replicas: Replicas, prepared):
    question = prepared["private"].question(Random(7))
    first, second = answers(replicas, [(0, question), (1, question)])
    # Whoever is later either repeats the answer or refuses, and then repeats it when asked again.
    assert first.receipt or second.receipt
    again = answers(replicas, [(0, question), (1, question)])
    assert again[0].messages[:-1] == again[1].messages[:-1]
    assert again[0].receipt.entry == again[1].receipt.entry


def test_what_one_answered_outlives_it(replicas: Replicas, prepared):
    """The last test: it kills the first replica in the middle of its work."""
    question = prepared["public"].question(Random(8))
    (answered,) = answers(replicas, [(0, question)])
    replicas.processes[0].kill()
    replicas.processes[0].wait()
    repeated, fresh = answers(
        replicas, [(1, question), (1, prepared["private"].question(Random(9)))]
    )
    assert repeated.messages[:-1] == answered.messages[:-1]
    assert repeated.receipt.entry == answered.receipt.entry
    assert fresh.receipt is not None
