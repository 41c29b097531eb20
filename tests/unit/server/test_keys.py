from __future__ import annotations

import numpy as np
import pytest

from fhe_layers.moduli import modulus_chain
from protocol.keys import EnrolledKey, KeyRequest
from server import keys as module
from server.keys import EnrolledKeyStore, EnrolmentSessions
from server.refusals import Refusal
from server.storage import StorageError
from wire.rpc import Reason

MODULI, _ = modulus_chain(4096, 1)
REQUEST = KeyRequest("client", "server", 4096, MODULI, 1)


def key(seed: int) -> EnrolledKey:
    words = np.random.default_rng(seed).integers(0, MODULI[0], (1, 1, 4096)).astype(np.uint64)
    return EnrolledKey(REQUEST, bytes(32), bytes(32), words)


def store_of(tmp_path, limit: int, limit_bytes: int = 1 << 20) -> EnrolledKeyStore:
    return EnrolledKeyStore(tmp_path / "keys", limit, limit_bytes)


class Clock:
    now = 100.0

    def __call__(self) -> float:
        return self.now


def refusal(action) -> Reason:
    with pytest.raises(Refusal) as caught:
        action()
    return caught.value.reason


def test_a_session_remembers_what_was_committed_and_serves_once():
    sessions = EnrolmentSessions(4, 60.0)
    challenge = sessions.begin(REQUEST, b"r" * 32)
    session = sessions.claim(challenge.session_id)
    assert (session.request, session.root, session.nonce) == (REQUEST, b"r" * 32, challenge.nonce)
    assert refusal(lambda: sessions.claim(challenge.session_id)) is Reason.ENROLMENT_UNKNOWN


def test_every_session_has_its_own_nonce():
    sessions = EnrolmentSessions(64, 60.0)
    challenges = [sessions.begin(REQUEST, bytes(32)) for _ in range(64)]
    assert len({challenge.nonce for challenge in challenges}) == 64
    assert len({challenge.session_id for challenge in challenges}) == 64


def test_a_session_expires():
    clock = Clock()
    sessions = EnrolmentSessions(4, 60.0, clock)
    challenge = sessions.begin(REQUEST, bytes(32))
    clock.now += 60.0
    assert refusal(lambda: sessions.claim(challenge.session_id)) is Reason.ENROLMENT_UNKNOWN


def test_sessions_are_bounded_and_the_oldest_makes_room():
    sessions = EnrolmentSessions(2, 60.0)
    oldest, middle, latest = (sessions.begin(REQUEST, bytes(32)) for _ in range(3))
    assert refusal(lambda: sessions.claim(oldest.session_id)) is Reason.ENROLMENT_UNKNOWN
    assert sessions.claim(middle.session_id).nonce == middle.nonce
    assert sessions.claim(latest.session_id).nonce == latest.nonce


def test_a_stored_key_outlives_the_process(tmp_path):
    enrolled = key(1)
    digest = store_of(tmp_path, 10).add(enrolled)
    assert digest == enrolled.digest
    assert store_of(tmp_path, 10).get(digest).digest == digest


def test_unknown_digests_are_refused_whatever_their_length(tmp_path):
    store = store_of(tmp_path, 10)
    for digest in (bytes(32), b"", b"../../etc/passwd", bytes(5000)[:200]):
        assert refusal(lambda digest=digest: store.get(digest)) is Reason.KEY_UNKNOWN


def test_the_store_is_bounded_but_takes_a_known_key_again(tmp_path):
    store = store_of(tmp_path, 2)
    store.add(key(1))
    store.add(key(2))
    assert refusal(lambda: store.add(key(3))) is Reason.KEYS_FULL
    store.add(key(2))


def test_what_comes_before_a_key_is_kept_comes_once_there_is_a_place_for_it(tmp_path):
    store = store_of(tmp_path, 1)
    found = []
    store.add(key(1), lambda: found.append(list((tmp_path / "keys").iterdir())))
    assert found == [[]]
    assert refusal(lambda: store.add(key(2), lambda: found.append(None))) is Reason.KEYS_FULL
    assert found == [[]]


def test_a_key_is_not_kept_if_what_comes_before_fails(tmp_path):
    def fail() -> None:
        raise StorageError("the disk is full")

    store = store_of(tmp_path, 10)
    with pytest.raises(StorageError):
        store.add(key(1), fail)
    assert refusal(lambda: store.get(key(1).digest)) is Reason.KEY_UNKNOWN


def test_the_store_is_bounded_in_bytes_too(tmp_path):
    store = store_of(tmp_path, 10, 2 * key(1).b.nbytes)
    store.add(key(1))
    assert refusal(lambda: store.add(key(2))) is Reason.KEYS_FULL
    store.add(key(1))


def test_only_the_latest_keys_stay_in_memory(tmp_path, monkeypatch):
    monkeypatch.setattr(module, "CACHED_BYTES", 2 * key(0).b.nbytes)
    store = store_of(tmp_path, 10)
    digests = [store.add(key(seed)) for seed in range(4)]
    assert list(store._cached) == digests[2:]
    assert store.get(digests[0]).digest == digests[0]


def test_an_altered_key_file_is_refused(tmp_path):
    store = store_of(tmp_path, 10)
    digest = store.add(key(1))
    path = tmp_path / "keys" / f"{digest.hex()}.key"
    data = bytearray(path.read_bytes())
    data[-8] ^= 1  # the least byte of a word: still canonical, another key
    path.write_bytes(data)
    with pytest.raises(StorageError, match="another key") as caught:
        store_of(tmp_path, 10).get(digest)
    assert str(path) in str(caught.value)


def test_enrolling_again_repairs_a_damaged_file(tmp_path):
    digest = store_of(tmp_path, 1).add(key(1))
    (tmp_path / "keys" / f"{digest.hex()}.key").write_bytes(b"damaged")
    store = store_of(tmp_path, 1)
    with pytest.raises(StorageError):
        store.get(digest)
    store.add(key(1))
    assert store_of(tmp_path, 1).get(digest).digest == digest
