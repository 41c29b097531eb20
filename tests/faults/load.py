"""Several clients at once, which ask until the server is gone."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from random import Random

import grpc

from tests.faults.asking import Exchange, Question, ask, channel
from tests.faults.stage import PRIVATE, PUBLIC, Stage

CONNECTIONS = 2
CLIENTS = 6
PRIVATE_SHARE = 0.15
MAX_REQUESTS = 2000
"""Of one round: a server that should have died by then lives."""


@dataclass
class Load:
    """One round of clients.

    Attributes:
        again: questions which come first.
        exchanges: what became of each question that was asked, in the order of their ends.
        ended: when, on the monotonic clock.
        over: clients stop asking once a deed has set it.
    """

    stage: Stage
    random: Random
    again: list[Question] = field(default_factory=list)
    exchanges: list[Exchange] = field(default_factory=list)
    ended: list[float] = field(default_factory=list)
    over: bool = False
    _begun: asyncio.Event = field(default_factory=asyncio.Event)

    def run(
        self,
        address: str,
        act: Callable[[], None] | None = None,
        after: float = 0.0,
        *,
        early: bool = False,
    ) -> None:
        """Ask until connections break, or it is over.

        Args:
            address: of the server.
            act: the deed that breaks them, or says that it is `over`, in a thread of its own; None
                if the server ends by itself.
            after: seconds from the first answer to the deed.
            early: they count from before the first question instead.
        """
        asyncio.run(self._run(address, act, after, early=early))

    async def _run(
        self, address: str, act: Callable[[], None] | None, after: float, *, early: bool
    ) -> None:
        questions = self._questions()
        authority = self.stage.ca.read_bytes()
        connections = [channel(address, authority) for _ in range(CONNECTIONS)]
        if early:
            self._begun.set()
        try:
            await asyncio.gather(
                self._act(act, after),
                *(
                    self._client(connections[number % CONNECTIONS], questions)
                    for number in range(CLIENTS)
                ),
            )
        finally:
            for connection in connections:
                await connection.close()

    async def _client(self, connection: grpc.aio.Channel, questions: Iterator[Question]) -> None:
        for question in questions:
            exchange = await ask(connection, question)
            self.exchanges.append(exchange)
            self.ended.append(time.monotonic())
            if exchange.receipt is not None:
                self._begun.set()
            if self.over or (exchange.status is not grpc.StatusCode.OK and exchange.reason is None):
                return
        raise AssertionError(f"the server lives after {MAX_REQUESTS} requests")

    async def _act(self, act: Callable[[], None] | None, after: float) -> None:
        if act is None:
            return
        await self._begun.wait()
        await asyncio.sleep(after)
        await asyncio.to_thread(act)

    def _questions(self) -> Iterator[Question]:
        yield from self.again
        for _ in range(MAX_REQUESTS):
            name = PRIVATE if self.random.random() < PRIVATE_SHARE else PUBLIC
            yield self.stage.prepared[name].question(self.random)
