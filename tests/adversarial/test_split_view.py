"""A log's operator who has its key and shows different histories to different clients.

Against k of n witnesses that answer over HTTP.  Two checkpoints which no proof joins share at least
2k - n witnesses that signed both, so one of them is honest as soon as 2k > n + dishonest, and an
honest one signs no second history.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack
from itertools import product

import httpx
import pytest
import structlog

from audit.checkpoint import verify_checkpoint
from audit.cosignature import WitnessPolicy, cosign, verify_cosignatures
from audit.errors import NoteError, SignatureError, WitnessError
from audit.keys import SigningKey
from audit.log import AuditLog
from audit.merkle import verify_consistency
from audit.signed_note import NoteKey, NoteSignature, SignedNote
from server.witnesses import RoundLimits, Witnesses
from tests.unit.audit.example_receipts import LOG, LOG_KEY, ORIGIN
from tests.unit.witness.serving import (
    RunningWitness,
    policy_of,
    running_witnesses,
    witness_thread,
)
from tests.unit.witness.watched_log import grow, request, watched_log

LIMITS = RoundLimits(witness_seconds=20, grace_seconds=5)
NOW = int(time.time())


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def witnesses(tmp_path) -> Iterator[list[RunningWitness]]:
    with running_witnesses(tmp_path, 3) as found:
        yield found


def cosigned(log: AuditLog, policy: WitnessPolicy) -> SignedNote:
    """What the server's own code gets for a log, honest or not."""

    async def ask() -> SignedNote:
        asked = Witnesses(policy, log, LOG, limits=LIMITS)
        try:
            return await asked.cosigned(log.head().size)
        finally:
            await asked.aclose()

    return asyncio.run(ask())


def posted(witness: RunningWitness, log: AuditLog, old: int) -> list[NoteSignature]:
    """The lines an operator gets from one witness, none if it refuses."""
    size = log.head().size
    proof = log.consistency_proof(old, size) if 0 < old < size else ()
    answer = httpx.post(
        f"{witness.entry.url}/add-checkpoint",
        content=request(old, proof, log.checkpoint(LOG)),
        trust_env=False,
        timeout=20,
    )
    if answer.status_code != 200:
        return []
    return [NoteSignature.from_line(line) for line in answer.text.splitlines()]


def accepted(note: SignedNote, policy: WitnessPolicy, log_key: NoteKey = LOG_KEY) -> bool:
    """Whether a client with the policy takes a checkpoint for the log's."""
    verify_checkpoint(note.encoded(), log_key)
    try:
        verify_cosignatures(note, policy, int(time.time()))
    except WitnessError:
        return False
    return True


@pytest.mark.accepts("C-97")
def test_an_honest_log_is_cosigned_as_it_grows(witnesses, tmp_path):
    policy = policy_of(witnesses, 2)
    log = watched_log(tmp_path / "log", 3)
    notes = []
    for more in (0, 1, 7):
        grow(log, more)
        notes.append(cosigned(log, policy))
        assert accepted(notes[-1], policy)
    old, new = (verify_checkpoint(note.encoded(), LOG_KEY)[0] for note in notes[1:])
    proof = log.consistency_proof(old.size, new.size)
    verify_consistency(old.size, old.root, new.size, new.root, proof)


@pytest.mark.rejects("C-97")
@pytest.mark.parametrize("size", [3, 5, 8])
def test_a_second_history_is_refused_whatever_its_size(witnesses, tmp_path, size):
    policy = policy_of(witnesses, 2)
    shown = cosigned(watched_log(tmp_path / "shown", 5), policy)
    fork = watched_log(tmp_path / "fork", size, first=1000)
    with pytest.raises(WitnessError, match="0 of 3 witnesses"):
        cosigned(fork, policy)
    assert accepted(shown, policy)
    assert not accepted(fork.checkpoint(LOG), policy)
    # The first history's cosignatures do not pass for the second's.
    moved = fork.checkpoint(LOG).with_signatures(shown.signatures[1:])
    with pytest.raises(SignatureError):
        accepted(moved, policy)


@pytest.mark.rejects("C-97")
def test_a_log_that_is_cut_and_grown_anew_is_refused(witnesses, tmp_path):
    policy = policy_of(witnesses, 2)
    log = watched_log(tmp_path / "log", 4)
    shutil.copytree(tmp_path / "log", tmp_path / "old")
    cosigned(grow(log, 3), policy)
    restored = watched_log(tmp_path / "old")
    assert restored.head().size == 4
    with pytest.raises(WitnessError, match="restored from an old copy"):
        cosigned(restored, policy)
    grow(restored, 6, first=1000)
    with pytest.raises(WitnessError, match="0 of 3 witnesses"):
        cosigned(restored, policy)


def both_accepted(directory, honest, dishonest, threshold, split, *, origin=ORIGIN) -> bool:
    """Whether an operator gets two histories past a policy.

    Honest witnesses are first shown the history that `split` says, and then asked for the other
    one; dishonest ones lend their keys.
    """
    policy = policy_of([*honest, *dishonest], threshold)
    logs = [watched_log(directory / f"{at}", 4, 1000 * at, origin) for at in (0, 1)]
    log_key = NoteKey(origin, LOG.public)
    lines: list[list[NoteSignature]] = [[], []]
    for witness, first in zip(honest, split, strict=True):
        lines[first] += posted(witness, logs[first], 0)
        for old in (0, 4):
            lines[1 - first] += posted(witness, logs[1 - first], old)
    taken = []
    for log, collected in zip(logs, lines, strict=True):
        note = log.checkpoint(LOG)
        lent = [
            cosign(note, each.keys.name, each.keys.ed25519, int(time.time())) for each in dishonest
        ]
        taken.append(accepted(note.with_signatures([*collected, *lent]), policy, log_key))
    return all(taken)


@pytest.mark.rejects("C-97")
def test_no_division_of_the_witnesses_lets_two_histories_through(tmp_path):
    """3 of 4 with one dishonest: every way to show the other three one history or the other."""
    splits = list(product((0, 1), repeat=3))
    origins = [f"log.example/{''.join(map(str, split))}" for split in splits]
    logs = [NoteKey(origin, LOG.public) for origin in origins]
    with running_witnesses(tmp_path, 4, logs=logs) as (*honest, liar):
        for split, origin in zip(splits, origins, strict=True):
            directory = tmp_path / origin.rpartition("/")[2]
            directory.mkdir()
            assert not both_accepted(directory, honest, [liar], 3, split, origin=origin), split


def test_beyond_the_bound_two_histories_get_through(tmp_path):
    """2 of 3 with one dishonest, 2k = n + dishonest: what the bound says is not vacuous."""
    with running_witnesses(tmp_path, 3) as (*honest, liar):
        directory = tmp_path / "logs"
        directory.mkdir()
        assert both_accepted(directory, honest, [liar], 2, (0, 1))


def test_a_witness_put_back_from_a_copy_counts_as_dishonest(tmp_path):
    """A witness cannot know it: it signs a second history from the copy's size on.

    What is left is the bound: one of four, and 3 of 4 holds.
    """
    with ExitStack() as stack:
        witnesses = stack.enter_context(running_witnesses(tmp_path, 3))
        directory = tmp_path / "w3"
        with running_witnesses(tmp_path / "fourth", 1, first=3) as (before,):
            state = before.settings.state
            shutil.copytree(state, directory)
            shown, fork = (watched_log(tmp_path / f"log{at}", 4, 1000 * at) for at in (0, 1))
            first = posted(before, shown, 0)
            assert first
            assert not posted(before, fork, 0)
        settings = before.settings.model_copy(update={"state": directory})
        url = stack.enter_context(witness_thread(settings))
        restored = RunningWitness(before.keys, before.keys.entry(url), settings)
        second = posted(restored, fork, 0)
        assert second
        policy = policy_of([*witnesses, restored], 3)
        for witness in witnesses:
            first += posted(witness, shown, 0)
            second += posted(witness, fork, 0) + posted(witness, fork, 4)
        assert accepted(shown.checkpoint(LOG).with_signatures(first), policy)
        assert not accepted(fork.checkpoint(LOG).with_signatures(second), policy)


@pytest.mark.rejects("C-97")
def test_lines_that_count_for_nothing(witnesses, tmp_path):
    policy = policy_of(witnesses, 2)
    log = watched_log(tmp_path / "log", 3)
    note = log.checkpoint(LOG)
    (line,) = posted(witnesses[0], log, 0)
    (again,) = posted(witnesses[0], log, 3)
    assert not accepted(note.with_signatures([line, again]), policy), "one witness twice"
    strangers = [
        cosign(note, name, SigningKey.generate(), NOW)
        for name in ("witness.example/w1", "witness.example/w2", "witness.example/w7")
    ]
    assert not accepted(note.with_signatures([line, *strangers]), policy), "strangers"
    later = cosign(note, "witness.example/w1", witnesses[1].keys.ed25519, NOW + 3600)
    with pytest.raises(SignatureError, match="future"):
        accepted(note.with_signatures([line, later]), policy)
    grow(log, 1)
    with pytest.raises(SignatureError):
        accepted(log.checkpoint(LOG).with_signatures([line]), policy)
    with contextlib.ExitStack() as stack:
        stack.enter_context(pytest.raises(NoteError, match="own name"))
        policy_of([witnesses[0], witnesses[0]], 2)
