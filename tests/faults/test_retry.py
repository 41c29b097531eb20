"""Connections that break when the receipt is durable and before the answer has left."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path
from random import Random

import grpc
import pytest

from audit.receipt import Outcome
from audit.recorder import CommitStep
from protocol.request import NONCE_BYTES
from server.inference import InferenceEngine
from server.main import engine_of, running
from server.settings import ServerSettings
from tests.faults.asking import Exchange, Question, ask, channel
from tests.faults.ledger import Ledger, opened
from tests.faults.proxy import Proxy, proxied
from tests.faults.rounds import rounds
from tests.faults.stage import PRIVATE, PUBLIC, Stage
from wire.inference import Response, encode_request
from wire.rpc import Reason

TIMES = rounds(50, 200)
PRIVATE_EVERY = 8


class CountingEngine(InferenceEngine):
    """The honest engine, and how often it was asked to work."""

    def __init__(self, honest: InferenceEngine) -> None:
        self.__dict__.update(honest.__dict__)
        self.answers = 0

    def answer(self, job) -> Response:
        self.answers += 1
        return super().answer(job)


@dataclass
class Cutter:
    """Cuts the connections of a proxy when a receipt has been committed."""

    proxy: Proxy | None = None
    cuts: int = 0

    def __call__(self, step: CommitStep) -> None:
        if step is CommitStep.COMMITTED and self.proxy is not None:
            self.cuts += self.proxy.cut() > 0


@pytest.fixture
def settings(stage: Stage, tmp_path: Path) -> ServerSettings:
    return stage.copy(tmp_path / "state")


async def asked(address: str, stage: Stage, question: Question) -> Exchange:
    connection = channel(address, stage.ca.read_bytes())
    try:
        return await ask(connection, question)
    finally:
        await connection.close()


@pytest.mark.accepts("C-96")
def test_a_request_whose_answer_was_cut_off_is_answered_from_the_archive(
    stage: Stage, settings: ServerSettings
):
    random = Random(20260102)
    engine = CountingEngine(engine_of(settings))
    cutter = Cutter()
    ledger = Ledger(settings.state)
    with opened(settings.state) as trail:
        before = trail.log.head()

    async def cut_and_repeat(address: str, proxy: Proxy, number: int) -> list[Exchange]:
        name = PUBLIC if number % PRIVATE_EVERY else PRIVATE
        question = stage.prepared[name].question(random)
        cutter.proxy = proxy
        first = await asked(proxy.address, stage, question)
        cutter.proxy = None
        assert first.admitted
        assert first.status is grpc.StatusCode.UNAVAILABLE
        assert first.messages == []
        again = [await asked(address, stage, question) for _ in range(2)]
        for repeated in again:
            assert repeated.status is grpc.StatusCode.OK, repeated
            assert not repeated.admitted  # nothing was uploaded
            assert repeated.messages[:-1] == again[0].messages[:-1]
            assert repeated.receipt is not None
        assert again[0].receipt.entry == again[1].receipt.entry
        return again

    async def scenario() -> list[Exchange]:
        async with running(settings, engine, cutter) as address:
            with proxied(address) as proxy:
                found = []
                for number in range(TIMES):
                    found += await cut_and_repeat(address, proxy, number)
                return found

    exchanges = asyncio.run(scenario())
    assert ledger.settle(exchanges) == []
    entries = {exchange.receipt.entry for exchange in exchanges}
    receipts = ledger.head.size - before.size
    assert (cutter.cuts, engine.answers, len(entries), receipts) == (TIMES,) * 4
    ledger.tell(f"cut between commit and reply: {cutter.cuts} times, {engine.answers} evaluations")


@pytest.mark.rejects("C-96")
def test_another_request_under_the_same_id_is_refused(stage: Stage, settings: ServerSettings):
    random = Random(20260103)
    question = stage.prepared[PUBLIC].question(random)
    request = replace(question.request, nonce=random.randbytes(NONCE_BYTES))
    header = next(encode_request(request, stage.prepared[PUBLIC].inputs))
    other = replace(question, request=request, header=header)

    async def scenario() -> list[Exchange]:
        async with running(settings) as address:
            return [await asked(address, stage, one) for one in (question, other, question)]

    first, refused, again = asyncio.run(scenario())
    assert first.status is grpc.StatusCode.OK
    assert refused.reason == Reason.REQUEST_REFUSED
    assert (refused.admitted, refused.messages) == (False, [])
    assert again.messages[:-1] == first.messages[:-1]
    assert again.receipt.entry == first.receipt.entry


@pytest.mark.accepts("C-96")
def test_the_same_request_sent_twice_at_once_has_one_receipt(
    stage: Stage, settings: ServerSettings
):
    random = Random(20260104)
    questions = [stage.prepared[PUBLIC].question(random) for _ in range(20)]
    with opened(settings.state) as trail:
        before = trail.log.head()

    async def scenario() -> list[Exchange]:
        async with running(settings) as address:
            return await asyncio.gather(
                *(asked(address, stage, question) for question in questions for _ in range(2))
            )

    exchanges = asyncio.run(scenario())
    ledger = Ledger(settings.state)
    assert ledger.settle(exchanges) == []
    assert ledger.head.size == before.size + len(questions)
    for first, second in zip(exchanges[::2], exchanges[1::2], strict=True):
        assert first.messages[:-1] == second.messages[:-1]
        assert first.receipt.entry == second.receipt.entry
    with opened(settings.state) as trail:
        outcomes = {entry.receipt().receipt.outcome for entry in trail.log.entries(before.size)}
    assert outcomes == {Outcome.ANSWERED}
