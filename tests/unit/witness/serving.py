"""Witnesses that answer over HTTP, each in a thread of this process."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from audit.cosignature import Witness, WitnessPolicy
from audit.signed_note import NoteKey
from tests.unit.audit.example_receipts import LOG_KEY
from witness.keys import WitnessKeys, make_state
from witness.main import running
from witness.settings import WitnessSettings

START_SECONDS = 20


@contextmanager
def witness_thread(settings: WitnessSettings) -> Iterator[str]:
    """Run a witness while the context lasts; yields its URL."""
    started: Future[str] = Future()
    stop = asyncio.Event()
    loop = asyncio.new_event_loop()

    async def serve() -> None:
        try:
            async with running(settings) as url:
                started.set_result(url)
                await stop.wait()
        except Exception as error:
            if started.done():
                raise
            started.set_exception(error)

    thread = threading.Thread(target=loop.run_until_complete, args=(serve(),), daemon=True)
    thread.start()
    try:
        yield started.result(START_SECONDS)
    finally:
        loop.call_soon_threadsafe(stop.set)
        thread.join()
        loop.close()


@dataclass(frozen=True)
class RunningWitness:
    """A witness that answers.

    Attributes:
        keys: its secrets, for those who play a dishonest one.
        entry: for policies.
        settings: with which it can be started again.
    """

    keys: WitnessKeys
    entry: Witness
    settings: WitnessSettings


@contextmanager
def running_witnesses(
    directory: Path,
    count: int,
    *,
    first: int = 0,
    bls: bool = False,
    logs: Sequence[NoteKey] = (LOG_KEY,),
) -> Iterator[list[RunningWitness]]:
    """Witnesses on loopback, of the example log if no other is named."""
    with ExitStack() as stack:
        found = []
        for number in range(first, first + count):
            keys = WitnessKeys.generate(f"witness.example/w{number}", bls=bls)
            state = directory / f"w{number}"
            make_state(state, keys)
            chosen = WitnessSettings(
                state=state, logs=tuple(key.encoded() for key in logs), listen="127.0.0.1:0"
            )
            url = stack.enter_context(witness_thread(chosen))
            found.append(RunningWitness(keys, keys.entry(url), chosen))
        yield found


def policy_of(witnesses: list[RunningWitness], threshold: int) -> WitnessPolicy:
    return WitnessPolicy(tuple(each.entry for each in witnesses), threshold)
