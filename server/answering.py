"""The work on words, wherever it is done: in threads of this process, in others, on other machines.

A task names its model and key by digest and carries its words as they travelled, so that it can be
sent to wherever they are at hand.
"""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Protocol, TypeVar

from audit.facts import AnsweredFacts, answered_facts
from fhe_layers.inputs import request_inputs
from protocol.ciphertexts import SeededCiphertexts
from protocol.keys import EnrolledKey
from protocol.plaintext import PlaintextColumns
from server.bundles import ModelBundle
from server.inference import InferenceEngine
from server.jobs import Job, request_of
from server.threads import in_thread
from wire.inference import InferenceHeader, encode_response, outputs_digest
from wire.stored_key import Enrolment
from zk_layers.verify import verify_enrolment

Result = TypeVar("Result")


@dataclass(frozen=True, eq=False)
class InferenceTask:
    """An admitted request with all that came for it.

    Attributes:
        tenant: whose model and key it uses.
        bundle: the model.
        key: the client's enrolled key, None for a public model.
        header: of the request.
        messages: of the request as they came, the header first.
        ciphertexts, plaintext: what the messages after the header say.
    """

    tenant: str
    bundle: ModelBundle
    key: EnrolledKey | None
    header: InferenceHeader
    messages: tuple[bytes, ...]
    ciphertexts: SeededCiphertexts
    plaintext: PlaintextColumns | None


@dataclass(frozen=True, eq=False)
class Answer:
    """What a task comes to.

    Attributes:
        facts: what its receipt will say.
        messages: of the answer, without the receipt's.
    """

    facts: AnsweredFacts
    messages: list[bytes]


class Answering(Protocol):
    """Whoever does the work on words."""

    async def answer(self, task: InferenceTask) -> Answer:
        """Evaluate and prove.

        If the caller is cancelled, work that has not begun does not begin.

        Raises:
            Refusal: what did the work is lost (worker-lost).
            BlindproofError: the request cannot be answered.
        """

    async def verify_enrolment(self, enrolment: Enrolment) -> None:
        """Verify a client's proof about its keys.

        Raises:
            Refusal: what did the work is lost (worker-lost).
            BlindproofError: the proof does not hold.
        """

    async def close(self) -> None:
        """Stop; what is at work is lost."""


class InThreads:
    """Work in threads of this process."""

    def __init__(self, engine: InferenceEngine, threads: int) -> None:
        """Start.

        Args:
            engine: what evaluates and proves.
            threads: works at once; more wait.
        """
        self._engine = engine
        self._executor = ThreadPoolExecutor(threads, "blindproof-compute")

    async def answer(self, task: InferenceTask) -> Answer:
        """See `Answering`."""
        return await self._run(lambda: answer_with(self._engine, task))

    async def verify_enrolment(self, enrolment: Enrolment) -> None:
        """See `Answering`."""
        await self._run(lambda: verify_enrolment(enrolment.key, enrolment.proof))

    async def close(self) -> None:
        """See `Answering`."""
        self._executor.shutdown()

    async def _run(self, work: Callable[[], Result]) -> Result:
        return await in_thread(self._executor, work)


def job_of(task: InferenceTask) -> Job:
    """What an engine is asked.  Raises BlindproofError: the request cannot be answered."""
    header, bundle = task.header, task.bundle
    inputs = request_inputs(
        bundle.card, header.packing, header.records, task.ciphertexts, task.plaintext
    )
    return Job(bundle, task.key, request_of(header, bundle, inputs), inputs)


def answer_with(engine: InferenceEngine, task: InferenceTask) -> Answer:
    """Do a task in the calling thread.

    Raises:
        BlindproofError: the request cannot be answered.
    """
    job = job_of(task)
    response = engine.answer(job)
    facts = answered_facts(
        job.request,
        outputs_digest(response.outputs),
        response.proof,
        engine.soundness_bits(job, response),
        task.header.account,
    )
    return Answer(facts, list(encode_response(task.header.request_id, response)))
