"""One process of clients: ``python -m benchmarks.load.client``, its arguments as JSON on its input.

Every verified prediction becomes one line of its output: when it was there (seconds of the
monotonic clock, which processes of one machine share), how long it took, and whether it is right.
Failures are lines too.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from client_sdk import AsyncClient
from client_sdk.ephemeral import EphemeralKeyStore
from protocol.errors import BlindproofError

PAUSE_SECONDS = 0.05
"""After a failure: a server that refuses is not asked again at once."""


@dataclass(frozen=True)
class Order:
    """What a process of clients is to do.

    Attributes:
        address, ca, model: of the server.
        concurrency: predictions under way at once.
        end: on the monotonic clock.
        records: what may be asked.
        positive: for each record, whether its score is above zero.
        client: options of the client, such as certificates.
    """

    address: str
    ca: str
    model: str
    concurrency: int
    end: float
    records: list[list[float]]
    positive: list[bool]
    client: dict[str, Any]


@dataclass(frozen=True)
class Line:
    """One prediction, or one failure."""

    at: float
    seconds: float
    right: bool | None
    error: str | None = None


def say(line: Line) -> None:
    """Tell the parent."""
    sys.stdout.write(json.dumps(asdict(line)) + "\n")
    sys.stdout.flush()


async def ask(client: AsyncClient, order: Order, random_: random.Random) -> None:
    """Ask until the end."""
    while time.monotonic() < order.end:
        index = random_.randrange(len(order.records))
        started = time.monotonic()
        try:
            result = await client.predict([order.records[index]], "single")
        except BlindproofError as error:
            say(Line(time.monotonic(), time.monotonic() - started, None, type(error).__name__))
            await asyncio.sleep(PAUSE_SECONDS)
            continue
        ended = time.monotonic()
        right = bool(result.values[0, 0] > 0) == order.positive[index]
        say(Line(ended, ended - started, right))


async def run(order: Order) -> None:
    """Enrol once, then ask with all tasks."""
    with EphemeralKeyStore() as keys:
        async with AsyncClient(
            order.address, model=order.model, keys=keys, ca=order.ca, **order.client
        ) as client:
            await client.enrol()
            await asyncio.gather(
                *(ask(client, order, random.Random(seed)) for seed in range(order.concurrency))
            )


def main() -> None:
    """Read the order from the input and carry it out."""
    asyncio.run(run(Order(**json.load(sys.stdin))))


if __name__ == "__main__":
    main()
