"""A Ray cluster's workers against one machine's: ``python -m benchmarks.executors``.

Same work, same number of workers, one thread each: a pool of two processes, then two nodes of a Ray
cluster on loopback.  Requests for a private linear model of 30 numbers, encrypted before; twice as
many are under way as there are workers.  What is measured is evaluating, proving and moving bytes,
without a network, a trail or clients; every answer is verified afterwards.  The two take turns, so
that what else the machine does meets both.
"""

from __future__ import annotations

import argparse
import asyncio
import secrets
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np
from rich.console import Console
from rich.table import Table
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import blindproof
from benchmarks.ray_nodes import RayNodes, ray_nodes
from client_sdk.encryption import CkksContext, encrypt
from client_sdk.evidence import Evidence
from client_sdk.verification import verify_answer
from protocol.inputs import RequestInputs
from protocol.keys import ENROLMENT_NONCE_BYTES, KeyRequest
from protocol.parameters import Packing
from protocol.request import NONCE_BYTES, REQUEST_ID_BYTES, Request
from server.answering import Answer, Answering, InferenceTask
from server.bundles import ModelBundle
from server.ray_answering.answering import InRay
from server.registry import ModelRegistry
from server.workers.pool import InProcesses
from server.workers.tasks import task_of
from wire.inference import ResponseAssembler, encode_request
from wire.stored_key import Enrolment
from zk_layers.prove import EnrolmentProver

WORKERS = 2
UNDER_WAY = 2 * WORKERS
WARM_UP = 8
BATCH_RECORDS = 500
MEMORY_BYTES = 1 << 30
SHARED_BYTES = 64 << 20
SECRET = bytes(32)


@dataclass(frozen=True)
class Asked:
    """A request and what it takes to verify its answer."""

    request: Request
    inputs: RequestInputs
    enrolment: Enrolment
    task: InferenceTask

    def verify(self, bundle: ModelBundle, answer: Answer) -> None:
        """Verify an answer as a client does.  Raises VerificationError."""
        request = self.request
        assembler = ResponseAssembler(request.card, request.packing, request.request_id)
        for message in answer.messages:
            assembler.add(message)
        response = assembler.finish()
        proof = bundle.registration_proof
        verify_answer(
            Evidence(request, proof, self.enrolment, self.inputs, response.outputs, response.proof)
        )


def fitted_bundle() -> tuple[ModelBundle, np.ndarray]:
    """A private model of 30 numbers, and records for it."""
    columns, labels = load_breast_cancer(return_X_y=True, as_frame=True)
    fitted = make_pipeline(StandardScaler(), LogisticRegression()).fit(columns, labels)
    with tempfile.TemporaryDirectory() as home:
        card = blindproof.compile(fitted, columns).publish(home)
        return ModelRegistry(Path(home)).get(card.digest), columns.to_numpy()


def asked_of(
    bundle: ModelBundle, records: np.ndarray, packing: Packing, count: int
) -> Iterator[Asked]:
    """Requests of one client, each under its own id: a record each, or the same batch."""
    card = bundle.card
    parameters = card.profile(packing).parameters
    ternary = np.random.default_rng(1).integers(-1, 2, parameters.ring_degree).astype(np.int8)
    wanted = KeyRequest("client", "server", parameters.ring_degree, card.key_moduli, 1)
    prover = EnrolmentProver(wanted, ternary)
    key, proof = prover.answer(secrets.token_bytes(ENROLMENT_NONCE_BYTES))
    context = CkksContext(parameters).with_secret(ternary)
    size = BATCH_RECORDS if packing is Packing.BATCH else 1
    chosen = records[:size]
    inputs = RequestInputs.encrypted_only(encrypt(context, card, packing, chosen))
    for index in range(count):
        if packing is Packing.SINGLE:
            chosen = records[index % len(records)][None]
            inputs = RequestInputs.encrypted_only(encrypt(context, card, packing, chosen))
        request = Request(
            request_id=secrets.token_bytes(REQUEST_ID_BYTES),
            nonce=secrets.token_bytes(NONCE_BYTES),
            client_id=wanted.client_id,
            server_id=wanted.server_id,
            card=card,
            packing=packing,
            records=len(chosen),
            key_digest=key.digest,
            registration_digest=bundle.registration_digest,
            input_digest=inputs.digest,
        )
        task = task_of("tenant", bundle, key, tuple(encode_request(request, inputs)))
        yield Asked(request, inputs, Enrolment(key, proof), task)


async def answered(answering: Answering, requests: Sequence[Asked]) -> tuple[list[Answer], float]:
    """The answers to all, a few at a time, and how many a second there were."""
    places = asyncio.Semaphore(UNDER_WAY)

    async def one(request: Asked) -> Answer:
        async with places:
            return await answering.answer(request.task)

    started = time.perf_counter()
    answers = await asyncio.gather(*map(one, requests))
    return answers, len(requests) / (time.perf_counter() - started)


async def measured(
    nodes: RayNodes, bundle: ModelBundle, requests: Sequence[Asked], rounds: int
) -> tuple[list[float], list[float]]:
    """Answers a second of processes and of the cluster, round by round."""
    local = InProcesses(SECRET, workers=WORKERS, threads=1, memory_bytes=MEMORY_BYTES)
    cluster = InRay(
        SECRET,
        address=nodes.address,
        node_address=nodes.node_address,
        workers=WORKERS,
        threads=1,
        memory_bytes=MEMORY_BYTES,
        shared_bytes=SHARED_BYTES,
    )
    rates: tuple[list[float], list[float]] = ([], [])
    try:
        while cluster.state.workers < WORKERS or local.state.workers < WORKERS:  # noqa: ASYNC110
            await asyncio.sleep(0.1)
        for executor in (local, cluster):
            answers, _ = await answered(executor, requests[:WARM_UP])
            for request, answer in zip(requests, answers, strict=False):
                request.verify(bundle, answer)
        for _ in range(rounds):
            for executor, found in zip((local, cluster), rates, strict=True):
                answers, rate = await answered(executor, requests)
                found.append(rate)
                for request, answer in zip(requests, answers, strict=True):
                    request.verify(bundle, answer)
    finally:
        await local.close()
        await cluster.close()
    return rates


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.executors", description=__doc__)
    parser.add_argument("--requests", type=int, default=60, help="of each packing, in a round")
    parser.add_argument("--rounds", type=int, default=5, help="medians are kept")
    arguments = parser.parse_args()
    bundle, records = fitted_bundle()
    table = Table(
        "packing", "processes, 1/s", "Ray, 1/s", "ratio", title=f"{WORKERS} workers, medians"
    )
    with ray_nodes() as nodes:
        for packing in Packing:
            requests = list(asked_of(bundle, records, packing, arguments.requests))
            local, cluster = asyncio.run(measured(nodes, bundle, requests, arguments.rounds))
            ratio = median(there / here for here, there in zip(local, cluster, strict=True))
            rates = (f"{median(local):.1f}", f"{median(cluster):.1f}")
            table.add_row(packing.value, *rates, f"{ratio:.2f}")
    Console().print(table)


if __name__ == "__main__":
    main()
