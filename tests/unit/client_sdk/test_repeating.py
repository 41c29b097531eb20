from __future__ import annotations

import asyncio

import pytest

from client_sdk import ConnectionLostError, TransportError, repeating
from client_sdk.repeating import MAX_PAUSE_SECONDS, pause, repeated


@pytest.fixture(autouse=True)
def no_pause(monkeypatch) -> None:
    monkeypatch.setattr(repeating, "FIRST_PAUSE_SECONDS", 0.0)


def failing(*errors: Exception):
    """Work that fails with these, one after another, and then succeeds."""
    waiting = list(errors)

    async def work() -> str:
        if waiting:
            raise waiting.pop(0)
        return "done"

    return work, waiting


LOST = ConnectionLostError("gone")


@pytest.mark.parametrize("breaks", [0, 1, 2])
def test_what_breaks_is_done_again(breaks: int):
    work, _ = failing(*[LOST] * breaks)
    assert asyncio.run(repeated(work, 2)) == "done"


@pytest.mark.parametrize("retries", [0, 1, 2])
def test_not_for_ever(retries: int):
    work, left = failing(*[LOST] * 5)
    with pytest.raises(ConnectionLostError):
        asyncio.run(repeated(work, retries))
    assert len(left) == 5 - retries - 1


def test_a_refusal_is_final():
    work, left = failing(TransportError("busy"), LOST)
    with pytest.raises(TransportError, match="busy"):
        asyncio.run(repeated(work, 2))
    assert left == [LOST]


def test_pauses_grow_up_to_a_limit(monkeypatch):
    monkeypatch.setattr(repeating, "FIRST_PAUSE_SECONDS", 0.4)
    for attempt, longest in enumerate((0.4, 1.6, 6.4, MAX_PAUSE_SECONDS, MAX_PAUSE_SECONDS)):
        drawn = [pause(attempt) for _ in range(50)]
        assert longest / 2 <= min(drawn) < max(drawn) <= longest
