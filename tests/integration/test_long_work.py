"""A server at work on long answers still says what it offers and whom it knows."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

from blindproof.demo.cheats import Cheat
from blindproof.loopback import server_thread
from client_sdk import Client, list_models
from server.inference import InferenceEngine
from server.jobs import Job
from tests.integration.conftest import World
from tests.integration.example_models import records
from wire.inference import Response


class SlowEngine(InferenceEngine):
    """Answers when it is told to."""

    def __init__(self, secret: bytes) -> None:
        super().__init__(secret)
        self.started, self.released = threading.Event(), threading.Event()

    def answer(self, job: Job) -> Response:
        self.started.set()
        assert self.released.wait(60)
        return super().answer(job)


def test_models_are_listed_and_fetched_while_every_compute_thread_is_taken(world: World):
    world.engine.cheat = Cheat.NONE
    engine = SlowEngine(bytes(32))
    settings = world.settings.model_copy(update={"compute_threads": 1})
    digest = world.models["public"].digest
    with (
        server_thread(settings, engine) as address,
        ThreadPoolExecutor(1) as pool,
        Client(address, model=digest, keys=world.keys, ca=world.ca) as client,
        Client(address, model=digest, keys=world.keys, ca=world.ca, seconds=20.0) as other,
    ):
        answer = pool.submit(client.predict, records(2))
        try:
            assert engine.started.wait(20)
            assert list_models(address, ca=world.ca, seconds=20.0).models
            assert other.card().digest == digest
            assert not answer.done()
        finally:
            engine.released.set()
        assert answer.result().soundness_bits >= 100
