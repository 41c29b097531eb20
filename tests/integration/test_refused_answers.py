"""A dishonest server's answers are refused by the client before anything is decrypted."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from blindproof.demo.cheats import Cheat
from client_sdk import Phase, VerificationError
from server.jobs import Job
from tests.integration.conftest import World
from tests.integration.example_models import records
from wire.inference import Response
from zk_layers.checks import Check

LINEAR = {str(Check.LINEAR_SUM), str(Check.LINEAR)}


@pytest.fixture(autouse=True)
def honest_again(world: World) -> Iterator[None]:
    world.engine.cheat = Cheat.NONE
    yield
    world.engine.cheat = Cheat.NONE


def refusal(world: World, packing: str, cheat: Cheat) -> str:
    with world.client() as client:
        rows = records(1)
        client.predict(rows, packing=packing)
        world.engine.cheat = cheat
        world.phases.clear()
        with pytest.raises(VerificationError) as caught:
            client.predict(rows, packing=packing)
    assert Phase.VERIFY in world.phases
    assert Phase.DECRYPT not in world.phases
    return caught.value.check


@pytest.mark.parametrize("packing", ["batch", "single"])
@pytest.mark.parametrize("cheat", [Cheat.OTHER_MODEL, Cheat.ONE_LIMB, Cheat.ALTERED_WORD])
def test_a_wrong_answer_fails_the_linear_test(world: World, packing: str, cheat: Cheat):
    assert refusal(world, packing, cheat) in LINEAR


@pytest.mark.parametrize("packing", ["batch", "single"])
def test_a_replayed_answer_is_refused(world: World, packing: str):
    assert refusal(world, packing, Cheat.REPLAY) in set(map(str, Check))


@pytest.mark.parametrize("packing", ["batch", "single"])
def test_a_public_answer_that_is_not_the_models_fails_the_check(
    world: World, packing: str, monkeypatch
):
    honest = world.engine.evaluate

    def evaluate(job: Job, inputs):
        evaluated = honest(job, inputs)
        words = evaluated.outputs.reshape(-1)
        words[0] = (int(words[0]) + 1) % job.profile.parameters.moduli[0]
        return evaluated

    monkeypatch.setattr(world.engine, "evaluate", evaluate)
    with world.client("public") as client, pytest.raises(VerificationError) as caught:
        client.predict(records(1), packing=packing)
    assert caught.value.check == str(Check.FREIVALDS)
    assert Phase.DECRYPT not in world.phases


@pytest.mark.rejects("C-40")
@pytest.mark.parametrize("packing", ["batch", "single"])
def test_words_that_are_not_canonical_are_refused_while_receiving(
    world: World, packing: str, monkeypatch
):
    honest = world.engine.answer

    def answer(job: Job) -> Response:
        response = honest(job)
        words = response.outputs.mask if packing == "single" else response.outputs.words
        words.reshape(-1)[0] += job.profile.parameters.moduli[0]
        return response

    monkeypatch.setattr(world.engine, "answer", answer)
    with world.client() as client, pytest.raises(VerificationError) as caught:
        client.predict(records(1), packing=packing)
    assert caught.value.check == str(Check.CANONICAL)
    assert Phase.VERIFY not in world.phases


def test_a_missing_proof_is_refused(world: World, monkeypatch):
    honest = world.engine.answer

    def answer(job: Job) -> Response:
        response = honest(job)
        return Response(response.outputs, b"", response.timings)

    monkeypatch.setattr(world.engine, "answer", answer)
    with world.client() as client, pytest.raises(VerificationError) as caught:
        client.predict(records(1))
    assert caught.value.check == str(Check.SIZE)
    assert Phase.DECRYPT not in world.phases
