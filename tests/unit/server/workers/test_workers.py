"""Real workers: the same answers as in threads, from a process that has nothing else."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import subprocess
import sys
import textwrap
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from queue import SimpleQueue

import numpy as np
import pytest
import structlog

from client_sdk.encryption import CkksContext, encrypt
from client_sdk.evidence import Evidence
from client_sdk.verification import verify_answer
from protocol.errors import EncodingError
from protocol.inputs import RequestInputs
from protocol.keys import EnrolledKey, KeyRequest
from protocol.parameters import Packing
from server.answering import Answer, InferenceTask, answer_with
from server.bundles import ModelBundle
from server.inference import InferenceEngine
from server.jobs import request_of
from server.refusals import Refusal
from server.workers import evaluator as evaluator_module
from server.workers import pool as pool_module
from server.workers.frames import Frame, Kind, receive_frame, send_frame
from server.workers.pool import InProcesses
from server.workers.process import COMMAND, environment
from server.workers.tasks import (
    key_blobs,
    model_blobs,
    model_of,
    refusal_of,
    refusal_value,
    task_of,
    task_value,
)
from server.workers.worker import Worker
from tests.integration.example_models import records
from wire.inference import (
    InferenceHeader,
    ResponseAssembler,
    decode_header,
    encode_request,
    output_chunks,
)
from wire.rpc import Reason
from wire.stored_key import Enrolment
from zk_layers.prove import EnrolmentProver

SECRET = bytes(range(32))
CLIENT, SERVER = "client", "server"
GONE_SECONDS = 5.0


@pytest.fixture(scope="module")
def secret() -> np.ndarray:
    return np.random.default_rng(8).integers(-1, 2, 8192).astype(np.int8)


@pytest.fixture(scope="module")
def enrolment(bundle: ModelBundle, secret: np.ndarray) -> Enrolment:
    request = KeyRequest(CLIENT, SERVER, 8192, bundle.card.key_moduli, 1)
    return Enrolment(*EnrolmentProver(request, secret).answer(bytes(32)))


@pytest.fixture(scope="module")
def task(bundle: ModelBundle, secret: np.ndarray, enrolment: Enrolment) -> InferenceTask:
    parameters = bundle.card.profile(Packing.SINGLE).parameters
    context = CkksContext(parameters).with_secret(secret)
    inputs = RequestInputs.encrypted_only(encrypt(context, bundle.card, Packing.SINGLE, records(1)))
    header = InferenceHeader(
        request_id=bytes(16),
        nonce=bytes(32),
        client_id=CLIENT,
        server_id=SERVER,
        model_digest=bundle.digest,
        registration_digest=bundle.registration_digest,
        key_digest=enrolment.key.digest,
        packing=Packing.SINGLE,
        records=1,
        ciphertexts=1,
    )
    messages = tuple(encode_request(request_of(header, bundle, inputs), inputs))
    return task_of("tenant", bundle, enrolment.key, messages)


@asynccontextmanager
async def pooled(workers: int = 1) -> AsyncIterator[InProcesses]:
    pool = InProcesses(SECRET, workers=workers, threads=1, memory_bytes=1 << 40)
    try:
        async with asyncio.timeout(60):
            yield pool
    finally:
        await pool.close()


def with_pool(work: Callable[[InProcesses], Awaitable[None]]) -> None:
    async def run() -> None:
        async with pooled() as pool:
            await work(pool)

    asyncio.run(run())


def response(task: InferenceTask, answer: Answer):
    card, packing = task.bundle.card, task.header.packing
    assembler = ResponseAssembler(card, packing, task.header.request_id)
    for message in answer.messages:
        assembler.add(message)
    return assembler.finish()


@pytest.fixture
def supplied(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What workers ask for."""
    asked: list[str] = []
    for name in ("model_blobs", "key_blobs"):
        original = getattr(pool_module, name)

        def told(thing, name=name, original=original):
            asked.append(name)
            return original(thing)

        monkeypatch.setattr(pool_module, name, told)
    return asked


def test_a_worker_answers_as_a_thread_does(task, enrolment, supplied):
    here = answer_with(InferenceEngine(SECRET), task)
    there: list[Answer] = []

    async def work(pool: InProcesses) -> None:
        await pool.verify_enrolment(enrolment)
        there.extend([await pool.answer(task), await pool.answer(task)])

    with_pool(work)
    assert supplied == ["model_blobs", "key_blobs"]  # once
    expected = response(task, here)
    request = request_of(task.header, task.bundle, RequestInputs.encrypted_only(task.ciphertexts))
    for answer in there:
        found = response(task, answer)
        for one, other in zip(
            output_chunks(found.outputs), output_chunks(expected.outputs), strict=True
        ):
            assert np.array_equal(one, other)
        facts = replace(answer.facts, digests=replace(answer.facts.digests, proof=None))
        assert facts == replace(here.facts, digests=replace(here.facts.digests, proof=None))
        evidence = Evidence(
            request,
            task.bundle.registration_proof,
            enrolment,
            RequestInputs.encrypted_only(task.ciphertexts),
            found.outputs,
            found.proof,
        )
        assert verify_answer(evidence).bits >= 100
    first, second = there
    assert first.facts.digests.proof != second.facts.digests.proof


def test_what_is_refused_in_a_worker_is_refused_for_its_reason(task, enrolment):
    forged = Enrolment(
        EnrolledKey(
            enrolment.key.request, enrolment.key.root, bytes(32), np.zeros_like(enrolment.key.b)
        ),
        enrolment.proof,
    )

    async def reason(work: Awaitable[object]) -> Reason:
        with pytest.raises(Refusal) as caught:
            await work
        return caught.value.reason

    async def work(pool: InProcesses) -> None:
        assert await reason(pool.verify_enrolment(forged)) is Reason.PROOF_REFUSED
        (process,) = pool.pids
        cut = replace(task, messages=task.messages[:-1])
        assert await reason(pool.answer(cut)) is Reason.MALFORMED
        # Another model's bytes under this model's name, as no server would send them.
        impostor = Named(enrolment.key, b"\x01" * 32)
        assert await reason(pool.answer(replace(task, key=impostor))) is Reason.MALFORMED
        assert pool.pids == (process,)  # it has lost nothing by that

    with_pool(work)


class Named:
    """A key under a name that is not its own."""

    def __init__(self, key: EnrolledKey, digest: bytes) -> None:
        self.request, self.root, self.nonce, self.b = key.request, key.root, key.nonce, key.b
        self.digest = digest


def test_an_answer_to_another_request_loses_its_worker(task):
    async def work(pool: InProcesses) -> None:
        other = replace(task, header=replace(task.header, request_id=b"\x01" * 16))
        with pytest.raises(Refusal) as caught:
            await pool.answer(other)
        assert caught.value.reason is Reason.WORKER_LOST
        await pool.answer(task)
        assert pool.state.lost == 1

    with_pool(work)


def test_a_worker_has_nothing_of_the_server_but_its_socket(monkeypatch, enrolment):
    monkeypatch.setenv("BLINDPROOF_AUDIT_DATABASE", "postgresql://user:password@host/db")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "canary")
    with Path(__file__).open() as kept:
        os.set_inheritable(kept.fileno(), False)

        async def work(pool: InProcesses) -> None:
            await pool.verify_enrolment(enrolment)
            (process,) = pool.pids
            place = Path(f"/proc/{process}")
            environment = (place / "environ").read_bytes()
            for canary in (b"BLINDPROOF", b"password", b"canary", SECRET, SECRET.hex().encode()):
                assert canary not in environment
                assert canary not in (place / "cmdline").read_bytes()
            opened = [str(entry.readlink()) for entry in (place / "fd").iterdir()]
            assert sum(path.startswith("socket:") for path in opened) == 1
            assert str(Path(__file__)) not in opened

        with_pool(work)


def test_only_the_server_ends_a_worker(enrolment):
    async def work(pool: InProcesses) -> None:
        await pool.verify_enrolment(enrolment)
        (process,) = pool.pids
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            os.kill(process, number)
        await pool.verify_enrolment(enrolment)
        assert pool.pids == (process,)

    with_pool(work)


def test_workers_end_with_a_server_that_is_killed():
    program = """
        import asyncio, sys
        from server.workers.pool import InProcesses

        async def main():
            pool = InProcesses(bytes(32), workers=2, threads=1, memory_bytes=1 << 40)
            while pool.state.workers < 2:
                await asyncio.sleep(0.01)
            print(*pool.pids, flush=True)
            await asyncio.sleep(600)

        asyncio.run(main())
    """
    server = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        stdout=subprocess.PIPE,
        text=True,
    )
    with server:
        assert server.stdout is not None
        working, stopped = map(int, server.stdout.readline().split())
        os.kill(stopped, signal.SIGSTOP)  # it will not notice by itself
        server.kill()
    deadline = time.monotonic() + GONE_SECONDS
    while any(Path(f"/proc/{process}").exists() for process in (working, stopped)):
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_worker_logs_as_the_server_does():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        command = [*COMMAND, str(theirs.fileno()), str(os.getpid())]
        worker = subprocess.Popen(
            command, env=environment(1), pass_fds=(theirs.fileno(),), stdout=subprocess.PIPE
        )
        send_frame(ours, Frame(Kind.ENROL))
        output, _ = worker.communicate(timeout=60)
    assert worker.returncode == 1
    (line,) = map(json.loads, output.splitlines())
    assert (line["level"], line["event"]) == ("error", "worker failed")
    assert "configured first" in line["exception"]


def test_an_unexpected_error_is_the_operators_business(task, monkeypatch):
    def fail(engine, task):
        raise RuntimeError("canary")

    monkeypatch.setattr(evaluator_module, "answer_with", fail)
    ours, theirs = socket.socketpair()
    incoming: SimpleQueue[Frame | None] = SimpleQueue()
    for frame in (
        Frame(Kind.INFER, task_value(task), task.messages),
        Frame(Kind.SUPPLY, (), model_blobs(task.bundle)),
        Frame(Kind.SUPPLY, (), key_blobs(task.key)),
        None,
    ):
        incoming.put(frame)
    with ours, theirs:
        with structlog.testing.capture_logs() as lines:
            Worker(theirs, incoming, SECRET).run()
        replies = [receive_frame(ours) for _ in range(4)]
    assert [reply.kind for reply in replies] == [
        Kind.READY,
        Kind.WANTED,
        Kind.WANTED,
        Kind.REFUSED,
    ]
    assert refusal_of(replies[-1].fields[1:]).reason is Reason.INTERNAL
    assert "canary" not in repr(replies[-1].fields)
    assert "canary" in repr(lines[0]["exc_info"])


def test_a_model_under_another_name_is_not_taken(task):
    blobs = model_blobs(task.bundle)
    assert model_of(task.bundle.digest, blobs).digest == task.bundle.digest
    with pytest.raises(EncodingError, match="another one than asked for"):
        model_of(bytes(32), blobs)


@pytest.mark.parametrize("advice", [None, 1.5])
def test_a_refusal_travels_with_its_advice(advice: float | None):
    came = refusal_of(refusal_value(Refusal(Reason.BUSY, "full", advice)))
    assert (came.reason, str(came), came.retry_seconds) == (Reason.BUSY, "full", advice)


def test_the_header_of_a_task_is_parsed_again(task):
    assert task.header == decode_header(task.messages[0])
