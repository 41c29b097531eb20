from __future__ import annotations

import base64
import shutil
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from audit.aggregate_cosignature import aggregate_cosignatures, bls_key_id
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.cosignature import WitnessPolicy, cosign, verify_cosignatures
from audit.head import Head
from audit.keys import SigningKey
from audit.merkle import EMPTY_ROOT
from audit.signed_note import KeyType, NoteKey, NoteSignature
from tests.unit.audit.example_receipts import LOG, LOG_KEY, ORIGIN
from tests.unit.witness.conftest import NAME
from tests.unit.witness.watched_log import asking, grow, request, watched_log
from witness.cosigning import CosigningWitness
from witness.errors import SIZE_TYPE, RefusedError, WitnessServiceError
from witness.keys import SEEN_FILE, WitnessKeys
from witness.seen import SeenHeads

NOW = 1_767_225_599


def lines_of(answer: bytes) -> list[NoteSignature]:
    return [NoteSignature.from_line(line) for line in answer.decode().splitlines()]


def refusal(witness, body) -> RefusedError:
    with pytest.raises(RefusedError) as caught:
        witness.add_checkpoint(body)
    return caught.value


@pytest.fixture
def log(tmp_path):
    return watched_log(tmp_path / "log", 5)


def test_a_growing_log_is_cosigned(keys, seen, log):
    witness = CosigningWitness(keys, [LOG_KEY], seen, clock=lambda: NOW + 0.9)
    policy = WitnessPolicy((keys.entry(),), 1)
    old = 0
    for size in (5, 6, 13):
        grow(log, size - log.head().size)
        answer = witness.add_checkpoint(asking(log, old))
        note = log.checkpoint(LOG).with_signatures(lines_of(answer))
        (found,) = verify_cosignatures(note, policy, NOW)
        assert (found.witness, found.time_seconds) == (NAME, NOW)
        assert seen.all() == {ORIGIN: log.head()}
        old = size


def test_the_same_tree_is_cosigned_again(witness, log):
    witness.add_checkpoint(asking(log, 0))
    assert lines_of(witness.add_checkpoint(asking(log, 5)))[0].name == NAME


def test_an_empty_log_is_cosigned(witness, tmp_path, seen):
    log = watched_log(tmp_path / "empty")
    witness.add_checkpoint(asking(log, 0))
    assert seen.all() == {ORIGIN: Head(0, EMPTY_ROOT)}
    witness.add_checkpoint(asking(grow(log, 2), 0))


def test_another_size_than_the_one_seen_is_a_conflict_that_names_it(witness, log):
    assert refusal(witness, asking(log, 3)).body == "0\n"
    witness.add_checkpoint(asking(log, 0))
    grow(log, 4)
    for old in (0, 4, 6):
        found = refusal(witness, asking(log, old))
        assert (found.status, found.body, found.kind) == (409, "5\n", SIZE_TYPE)
        assert not found.evidence


def test_a_smaller_tree_is_never_cosigned(witness, log, tmp_path):
    witness.add_checkpoint(asking(log, 0))
    smaller = watched_log(tmp_path / "smaller", 4)
    assert refusal(witness, asking(smaller, 0)).body == "5\n"
    assert refusal(witness, asking(smaller, 4)).body == "5\n"
    assert refusal(witness, request(5, (), smaller.checkpoint(LOG))).status == 400


def test_another_tree_of_the_same_size_is_a_conflict(witness, log, tmp_path, seen):
    witness.add_checkpoint(asking(log, 0))
    fork = watched_log(tmp_path / "fork", 5, first=100)
    found = refusal(witness, asking(fork, 5))
    assert (found.status, found.body, found.evidence) == (409, "5\n", True)
    assert seen.all() == {ORIGIN: log.head()}


def test_another_history_is_unprocessable(witness, log, tmp_path, seen):
    witness.add_checkpoint(asking(log, 0))
    fork = watched_log(tmp_path / "fork", 9, first=100)
    found = refusal(witness, asking(fork, 5))
    assert (found.status, found.evidence) == (422, True)
    grow(log, 4)
    proof = log.consistency_proof(5, 9)
    assert refusal(witness, request(5, proof, fork.checkpoint(LOG))).status == 422
    assert seen.all()[ORIGIN].size == 5


@pytest.mark.parametrize(
    "change",
    [
        lambda proof: (),
        lambda proof: proof[:-1],
        lambda proof: (*proof, proof[0]),
        lambda proof: proof[::-1],
        lambda proof: (bytes(32), *proof[1:]),
    ],
)
def test_proofs_that_prove_nothing_are_unprocessable(witness, log, change):
    witness.add_checkpoint(asking(log, 0))
    grow(log, 4)
    proof = change(log.consistency_proof(5, 9))
    assert refusal(witness, request(5, proof, log.checkpoint(LOG))).status == 422


def test_hashes_where_there_is_nothing_to_prove_are_unprocessable(witness, log):
    assert refusal(witness, request(0, (bytes(32),), log.checkpoint(LOG))).status == 422
    witness.add_checkpoint(asking(log, 0))
    assert refusal(witness, request(5, (bytes(32),), log.checkpoint(LOG))).status == 422


def test_unknown_logs_are_not_found(witness):
    other = sign_checkpoint(Checkpoint("log.example/other", 1, bytes(32)), LOG)
    assert refusal(witness, request(0, (), other)).status == 404


def test_other_keys_of_a_known_log_are_forbidden(witness, log, seen):
    checkpoint = Checkpoint(ORIGIN, 5, log.head().root)
    for key in (SigningKey.generate(), SigningKey.from_secret(bytes(32))):
        assert refusal(witness, request(0, (), sign_checkpoint(checkpoint, key))).status == 403
    forged = NoteSignature(ORIGIN, LOG_KEY.key_id, bytes(64))
    note = replace(log.checkpoint(LOG), signatures=(forged,))
    assert refusal(witness, request(0, (), note)).status == 403
    assert seen.all() == {}


def test_signatures_of_others_are_ignored(witness, log):
    note = log.checkpoint(LOG)
    other = cosign(note, "witness.example/other", SigningKey.generate(), NOW)
    assert witness.add_checkpoint(request(0, (), note.with_signatures([other])))


def test_a_log_may_have_several_keys(keys, seen, log):
    old = NoteKey(ORIGIN, SigningKey.generate().public)
    witness = CosigningWitness(keys, [old, LOG_KEY], seen)
    assert witness.add_checkpoint(asking(log, 0))


def test_keys_of_witnesses_are_no_keys_of_logs(keys, seen):
    with pytest.raises(WitnessServiceError, match="not the key of a log"):
        CosigningWitness(keys, [replace(LOG_KEY, kind=KeyType.COSIGNATURE)], seen)


def test_logs_do_not_share_a_memory(keys, seen, log):
    other = NoteKey("log.example/other", LOG.public)
    witness = CosigningWitness(keys, [LOG_KEY, other], seen)
    witness.add_checkpoint(asking(log, 0))
    note = sign_checkpoint(Checkpoint(other.name, 2, bytes(32)), LOG)
    witness.add_checkpoint(request(0, (), note))
    assert seen.all() == {ORIGIN: log.head(), other.name: Head(2, bytes(32))}


def test_of_two_requests_at_once_one_history_is_signed(keys, state, tmp_path):
    """Two processes' memories of one database, two histories, from one size, many times."""
    logs = [watched_log(tmp_path / f"fork{at}", 3, first=100 * at) for at in (0, 1)]
    start = watched_log(tmp_path / "start", 0)
    memories = [SeenHeads(state / SEEN_FILE) for _ in range(2)]
    witnesses = [CosigningWitness(keys, [LOG_KEY], memory) for memory in memories]
    witnesses[0].add_checkpoint(asking(start, 0))
    barrier = threading.Barrier(8)

    def ask(number):
        body = asking(logs[number % 2], 0)
        barrier.wait()
        try:
            witnesses[number // 4].add_checkpoint(body)
        except RefusedError as error:
            return number % 2, error.status
        return number % 2, 200

    with ThreadPoolExecutor(8) as pool:
        answers = list(pool.map(ask, range(8)))
    (signed,) = {who for who, status in answers if status == 200}
    assert sorted(status for _, status in answers) == [200] + [409] * 7
    assert memories[1].all() == {ORIGIN: logs[signed].head()}
    for memory in memories:
        memory.close()


def test_nothing_is_signed_before_it_is_durable(witness, log, monkeypatch, state):
    """When `cosign` is called, another connection reads the new tree."""
    seen_by_others = []

    def spying(*arguments):
        other = SeenHeads(state / SEEN_FILE)
        seen_by_others.append(other.all()[ORIGIN])
        other.close()
        return cosign(*arguments)

    monkeypatch.setattr("witness.cosigning.cosign", spying)
    witness.add_checkpoint(asking(log, 0))
    assert seen_by_others == [log.head()]


def test_commits_wait_for_the_disk(seen):
    with seen._writer.begin() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 2
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "wal"


def test_an_old_copy_put_back_under_a_running_witness_is_refused(witness, log, state, seen):
    witness.add_checkpoint(asking(log, 0))
    seen.close()
    for path in state.glob(f"{SEEN_FILE}*"):
        shutil.copy(path, state / f"copy-{path.name}")
    seen.close()
    grow(log, 3)
    witness.add_checkpoint(asking(log, 5))
    seen.close()
    for path in state.glob(f"{SEEN_FILE}*"):
        path.unlink()
    for path in state.glob(f"copy-{SEEN_FILE}*"):
        path.replace(state / path.name.removeprefix("copy-"))
    with pytest.raises(WitnessServiceError, match="an old copy"):
        witness.add_checkpoint(asking(log, 5))


def test_a_witness_without_its_memory_does_not_start(state, seen):
    seen.close()
    for path in state.glob(f"{SEEN_FILE}*"):
        path.unlink()
    with pytest.raises(WitnessServiceError, match="Put no old copy back"):
        SeenHeads(state / SEEN_FILE)


def test_a_memory_is_never_made_over_another(state):
    with pytest.raises(WitnessServiceError, match="already"):
        SeenHeads(state / SEEN_FILE, create=True)


def test_what_is_no_memory_is_refused(state):
    for data in (b"", b"not a database, and longer than a header" * 100):
        (state / "other.db").write_bytes(data)
        with pytest.raises(WitnessServiceError, match="failed"):
            SeenHeads(state / "other.db")


def test_asked_again_it_signs_with_its_bls_key_as_well(seen, log):
    keys = WitnessKeys.generate(NAME)
    witness = CosigningWitness(keys, [LOG_KEY], seen)
    assert len(lines_of(witness.add_checkpoint(asking(log, 0)))) == 1
    first, second = lines_of(witness.add_checkpoint(asking(log, 5)))
    entry = keys.entry()
    assert first.key_id == entry.key.key_id
    assert (second.name, second.key_id) == (NAME, bls_key_id(NAME, entry.bls.public))
    policy = WitnessPolicy((entry,), 1)
    aggregate_cosignatures(log.checkpoint(LOG).text, ORIGIN, policy, {NAME: second.body})
    again = lines_of(witness.add_checkpoint(asking(log, 5)))
    assert again[1] == second


def test_the_root_in_a_signature_is_the_checkpoints(witness, log):
    (line,) = lines_of(witness.add_checkpoint(asking(log, 0)))
    text = log.checkpoint(LOG).text
    assert base64.b64encode(log.head().root).decode() in text
    key = NoteKey(NAME, witness._keys.ed25519.public, KeyType.COSIGNATURE)
    assert line.key_id == key.key_id
