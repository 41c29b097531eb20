from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.head import Head
from audit.signed_note import NoteKey
from client_sdk import EphemeralKeyStore, LogKeyError
from client_sdk.keystore import KeyStore
from client_sdk.log_memory import KnownLog, LogMemory
from protocol.encoding import decode, encode
from protocol.errors import EncodingError, KeyStoreError

KEY, OTHER = NoteKey("log.example/one", bytes(32)), NoteKey("log.example/other", bytes(range(32)))
SMALL, LARGE, FORK = Head(3, bytes(32)), Head(5, bytes(range(32))), Head(5, b"f" * 32)

HEADS = st.builds(Head, st.integers(1, (1 << 63) - 1), st.binary(min_size=32, max_size=32))
KEYS = st.builds(NoteKey, st.just("log.example"), st.binary(min_size=32, max_size=32))


@given(st.dictionaries(st.text(max_size=20), KEYS), st.dictionaries(KEYS, HEADS))
def test_a_memory_comes_back(servers, heads):
    memory = LogMemory(servers, heads)
    assert LogMemory.from_value(decode(encode(memory.value()))) == memory


@pytest.mark.parametrize(
    "value",
    [
        (),
        ((), ((KEY.encoded(), 0, bytes(32)),)),
        ((), ((KEY.encoded(), 1 << 63, bytes(32)),)),
        ((), ((KEY.encoded(), 1, bytes(31)),)),
        ((("address",),), ()),
    ],
)
def test_a_malformed_memory_is_refused(value):
    with pytest.raises(EncodingError):
        LogMemory.from_value(value)


def test_nothing_is_known_at_first(store: KeyStore):
    assert store.known_log("server:1") is None
    assert store.log(KEY) == KnownLog(KEY, None)


@pytest.mark.accepts("C-94")
def test_a_head_is_remembered_by_every_client_of_a_store(store: KeyStore, tmp_path):
    assert store.advance_log("server:1", KnownLog(KEY), SMALL) == SMALL
    again = KeyStore(tmp_path / "keys", passphrase="right")
    assert again.known_log("server:1") == KnownLog(KEY, SMALL)
    assert again.advance_log("server:1", KnownLog(KEY, SMALL), LARGE) == LARGE
    assert store.known_log("server:1") == KnownLog(KEY, LARGE)
    assert store.known_log("server:2") is None


def test_a_log_is_one_log_at_whatever_address(store: KeyStore):
    store.advance_log("server:1", KnownLog(KEY), LARGE)
    assert store.advance_log("server:2", KnownLog(KEY), SMALL) == LARGE
    assert store.known_log("server:2") is None
    assert store.advance_log("server:2", KnownLog(KEY, LARGE), LARGE) == LARGE
    assert store.known_log("server:2") == KnownLog(KEY, LARGE)


def test_an_address_is_remembered_though_another_client_has_kept_the_head(store: KeyStore):
    store.advance_log("server:1", KnownLog(KEY), LARGE)
    assert store.advance_log("server:2", KnownLog(KEY), LARGE) == LARGE
    assert store.known_log("server:2") == KnownLog(KEY, LARGE)


@pytest.mark.rejects("C-94")
@pytest.mark.parametrize("head", [SMALL, FORK])
def test_what_was_not_joined_to_what_is_kept_does_not_replace_it(store: KeyStore, head: Head):
    store.advance_log("server:1", KnownLog(KEY), SMALL)
    store.advance_log("server:1", KnownLog(KEY, SMALL), LARGE)
    assert store.advance_log("server:1", KnownLog(KEY, SMALL), head) == LARGE
    assert store.known_log("server:1") == KnownLog(KEY, LARGE)


@pytest.mark.accepts("C-94")
def test_of_many_at_once_the_largest_head_stays(store: KeyStore):
    """Each takes what is kept as joined, as it is if all saw one log."""

    def advance(size: int) -> None:
        log, head = KnownLog(KEY), Head(size, bytes(32))
        while (kept := store.advance_log("server:1", log, head)) != head:
            log, head = KnownLog(KEY, kept), max(kept, head, key=lambda each: each.size)

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(advance, [7, 3, 12, 5, 9, 1, 11, 2]))
    assert store.log(KEY).head == Head(12, bytes(32))


@pytest.mark.rejects("C-93")
def test_another_log_at_a_known_address_is_refused_unless_it_is_pinned(store: KeyStore):
    store.advance_log("server:1", KnownLog(KEY), LARGE)
    with pytest.raises(LogKeyError, match="give it as log_key") as caught:
        store.advance_log("server:1", KnownLog(OTHER), SMALL)
    assert KEY.encoded() in str(caught.value)
    assert store.log(OTHER).head is None
    assert store.advance_log("server:1", KnownLog(OTHER), SMALL, pinned=True) == SMALL
    assert store.known_log("server:1") == KnownLog(OTHER, SMALL)
    assert store.log(KEY).head == LARGE


@pytest.mark.parametrize("damage", ["cut", "flipped", "garbage", "another store's"])
def test_an_altered_memory_is_refused_with_advice(store: KeyStore, tmp_path, damage: str):
    store.advance_log("server:1", KnownLog(KEY), LARGE)
    path = tmp_path / "keys" / "logs.bin"
    data = path.read_bytes()
    if damage == "another store's":
        other = KeyStore(tmp_path / "other", passphrase="right")
        other.advance_log("server:1", KnownLog(KEY), SMALL)
        data = (tmp_path / "other" / "logs.bin").read_bytes()
    path.write_bytes(
        {
            "cut": data[:-1],
            "flipped": data[:-1] + bytes((data[-1] ^ 1,)),
            "garbage": b"garbage",
        }.get(damage, data)
    )
    with pytest.raises(KeyStoreError, match="Remove the file"):
        store.known_log("server:1")
    with pytest.raises(KeyStoreError, match="Remove the file"):
        store.advance_log("server:1", KnownLog(KEY, LARGE), LARGE)


def test_the_memory_is_private(store: KeyStore, tmp_path):
    store.advance_log("secret-clinic:1", KnownLog(KEY), LARGE)
    path = tmp_path / "keys" / "logs.bin"
    assert path.stat().st_mode & 0o777 == 0o600
    assert b"secret-clinic" not in path.read_bytes()


def test_a_memory_that_did_not_grow_is_not_written_again(store: KeyStore, tmp_path):
    store.advance_log("server:1", KnownLog(KEY), LARGE)
    before = (tmp_path / "keys" / "logs.bin").stat().st_mtime_ns
    store.advance_log("server:1", KnownLog(KEY, LARGE), LARGE)
    assert (tmp_path / "keys" / "logs.bin").stat().st_mtime_ns == before


def test_an_ephemeral_store_remembers_too():
    with EphemeralKeyStore() as keys:
        keys.advance_log("server:1", KnownLog(KEY), LARGE)
        assert keys.known_log("server:1") == KnownLog(KEY, LARGE)
        assert keys.receipt_key().public == keys.receipt_key().public


def test_one_log_can_be_forgotten(store: KeyStore):
    store.advance_log("server:1", KnownLog(KEY), LARGE)
    store.advance_log("server:2", KnownLog(OTHER), SMALL)
    store.forget_log("server:1")
    assert store.known_log("server:1") is None
    assert store.log(KEY).head is None
    assert store.known_log("server:2") == KnownLog(OTHER, SMALL)
    store.forget_log("server:3")
