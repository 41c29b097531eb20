from __future__ import annotations

import pickle
import stat
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from client_sdk import keystore
from client_sdk.keystore import (
    PASSPHRASE_VARIABLE,
    KeyStore,
    Ring,
    Snapshot,
    StaleSnapshotError,
)
from fhe_layers.moduli import modulus_chain
from protocol.errors import KeyStoreError
from protocol.keys import EnrolledKey, KeyRequest
from wire.stored_key import Enrolment, encode_enrolment

MODULI, _ = modulus_chain(4096, 1)
RING = Ring(4096, MODULI)
SECRET = np.random.default_rng(9).integers(-1, 2, 4096).astype(np.int8)


def never() -> np.ndarray:
    raise AssertionError("a secret was made again")


def snapshot(store: KeyStore, wanted: KeyRequest | None = None, **limits: int) -> Snapshot:
    return store.snapshot(RING, lambda: SECRET, wanted=wanted, **limits)


def add(store: KeyStore, key: EnrolledKey) -> None:
    store.add_enrolled_key(Enrolment(key, b"proof"), snapshot(store).epoch)


def key_file(tmp_path: Path, key: EnrolledKey) -> Path:
    return tmp_path / "keys" / "keys" / f"{key.digest.hex()}.key"


def test_a_store_is_the_same_when_opened_again(store, tmp_path, key):
    first = snapshot(store)
    assert np.array_equal(first.secret, SECRET)
    add(store, key)
    store.count_disclosure(7, first.epoch)
    again = KeyStore(tmp_path / "keys", passphrase="right")
    assert again.client_id == store.client_id
    assert again.disclosed == 7
    second = again.snapshot(RING, never, wanted=key.request)
    assert second.epoch == first.epoch
    assert second.release_key == first.release_key
    assert np.array_equal(second.secret, SECRET)
    assert second.enrolment is not None
    assert second.enrolment.key.digest == key.digest
    assert second.enrolment.proof == b"proof"


def test_two_stores_share_nothing(tmp_path, quick_scrypt):
    one, other = (KeyStore(tmp_path / name, passphrase="same") for name in "ab")
    assert one.client_id != other.client_id
    assert snapshot(one).release_key != snapshot(other).release_key
    assert snapshot(one).epoch != snapshot(other).epoch


def test_a_wrong_passphrase_is_refused(store, tmp_path):
    with pytest.raises(KeyStoreError, match="wrong passphrase"):
        KeyStore(tmp_path / "keys", passphrase="wrong")


def test_the_passphrase_may_come_from_the_environment(store, tmp_path, monkeypatch):
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "right")
    assert KeyStore(tmp_path / "keys").client_id == store.client_id
    monkeypatch.setenv(PASSPHRASE_VARIABLE, "wrong")
    with pytest.raises(KeyStoreError):
        KeyStore(tmp_path / "keys")
    assert KeyStore(tmp_path / "keys", passphrase="right").client_id == store.client_id


def test_without_passphrase_or_terminal_there_is_no_store(tmp_path, monkeypatch):
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stdin", None)
    with pytest.raises(KeyStoreError, match="needs a passphrase"):
        KeyStore(tmp_path / "keys")
    with pytest.raises(KeyStoreError, match="needs a passphrase"):
        KeyStore(tmp_path / "keys", passphrase="")


def test_a_terminal_is_asked_twice_for_a_new_store(tmp_path, monkeypatch, quick_scrypt):
    class Terminal:
        def isatty(self) -> bool:
            return True

    answers = iter(["one", "other", "one", "one", "one"])
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    monkeypatch.setattr("sys.stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: next(answers))
    with pytest.raises(KeyStoreError, match="differ"):
        KeyStore(tmp_path / "keys")
    first = KeyStore(tmp_path / "keys")
    assert KeyStore(tmp_path / "keys").client_id == first.client_id
    assert next(answers, None) is None


def test_nothing_secret_is_on_disk_in_the_clear(store, tmp_path):
    content = snapshot(store)
    data = (tmp_path / "keys" / "secrets.bin").read_bytes()
    assert SECRET.tobytes()[:64] not in data
    assert content.release_key not in data
    assert content.epoch not in data
    assert store.client_id.encode() not in data


def test_files_are_private(store, tmp_path, key):
    add(store, key)
    root = tmp_path / "keys"
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    for path in root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


def test_the_mode_of_an_existing_directory_is_its_owners_business(tmp_path, quick_scrypt):
    root = tmp_path / "shared"
    root.mkdir()
    root.chmod(0o750)
    for _ in range(2):
        KeyStore(root, passphrase="right")
        assert stat.S_IMODE(root.stat().st_mode) == 0o750
    assert stat.S_IMODE((root / "keys").stat().st_mode) == 0o700


def test_a_directory_with_other_things_in_it_does_not_become_a_store(tmp_path, quick_scrypt):
    (tmp_path / "letter.txt").write_text("dear sir")
    tmp_path.chmod(0o755)
    with pytest.raises(KeyStoreError, match="not a key store and not empty"):
        KeyStore(tmp_path, passphrase="right")
    assert [path.name for path in tmp_path.iterdir()] == ["letter.txt"]
    assert stat.S_IMODE(tmp_path.stat().st_mode) == 0o755


def test_a_store_that_was_not_finished_is_finished(tmp_path, quick_scrypt):
    (tmp_path / "keys").mkdir()
    (tmp_path / ".lock").touch()
    (tmp_path / ".secrets.bin.0123").touch()
    assert KeyStore(tmp_path, passphrase="right").disclosed == 0


def test_a_store_is_not_made_where_one_is_expected(tmp_path, quick_scrypt):
    with pytest.raises(KeyStoreError, match="is not a key store"):
        KeyStore(tmp_path / "mistyped", passphrase="right", create=False)
    assert not (tmp_path / "mistyped").exists()


@pytest.mark.parametrize("position", [0, 20, 60, 100, -1])
def test_an_altered_store_is_refused(store, tmp_path, position: int):
    path = tmp_path / "keys" / "secrets.bin"
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(KeyStoreError):
        KeyStore(tmp_path / "keys", passphrase="right")


def test_an_enrolled_key_put_there_by_somebody_else_is_not_used(store, tmp_path, key):
    key_file(tmp_path, key).write_bytes(encode_enrolment(Enrolment(key, b"proof")))
    assert snapshot(store, key.request).enrolment is None


@pytest.mark.parametrize("damage", ["altered", "truncated", "missing"])
def test_a_damaged_enrolled_key_is_forgotten_and_the_next_one_used(store, tmp_path, key, damage):
    older = replace(key, nonce=bytes([1]) * 32)
    add(store, older)
    add(store, key)
    path = key_file(tmp_path, key)
    data = bytearray(path.read_bytes())
    if damage == "missing":
        path.unlink()
    elif damage == "truncated":
        path.write_bytes(data[:100])
    else:
        data[-200] ^= 1
        path.write_bytes(data)
    found = snapshot(store, key.request).enrolment
    assert found is not None
    assert found.key.digest == older.digest
    assert [digest for digest, _ in store.summary().enrolled] == [older.digest]
    assert list(path.parent.iterdir()) == [key_file(tmp_path, older)]


@pytest.mark.parametrize(
    "change",
    [
        {"client_id": "somebody"},
        {"server_id": "another server"},
        {"ring_degree": 8192},
        {"moduli": modulus_chain(8192, 2)[0][1:]},
        {"keys": 3},
    ],
)
def test_a_key_is_used_only_where_it_fits(store, key, change):
    add(store, key)
    assert snapshot(store, key.request).enrolment is not None
    assert snapshot(store, replace(key.request, keys=1)).enrolment is not None
    wanted = replace(key.request, **change)
    assert snapshot(store, wanted).enrolment is None


def test_every_ring_has_a_secret_of_its_own(store, tmp_path, key):
    add(store, key)
    other = Ring(8192, modulus_chain(8192, 3)[0])
    longer = -np.ones(8192, dtype=np.int8)
    first, second = snapshot(store), store.snapshot(other, lambda: longer)
    assert first.epoch == second.epoch
    again = KeyStore(tmp_path / "keys", passphrase="right")
    assert np.array_equal(again.snapshot(RING, never, wanted=key.request).secret, SECRET)
    assert np.array_equal(again.snapshot(other, never).secret, longer)


def test_a_chain_that_begins_like_another_is_another_ring(store):
    """A key of the longer chain is a sample of another secret than the shorter chain's."""
    chain = modulus_chain(8192, 3)[0]
    request = KeyRequest(store.client_id, "server", 8192, chain, 1)
    words = np.zeros((1, 3, 8192), dtype=np.uint64)
    longer = np.ones(8192, dtype=np.int8)
    epoch = store.snapshot(Ring(8192, chain), lambda: longer).epoch
    store.add_enrolled_key(
        Enrolment(EnrolledKey(request, bytes(32), bytes(32), words), b"proof"), epoch
    )
    shorter = replace(request, moduli=chain[:2])
    found = store.snapshot(Ring.of(shorter), lambda: -longer, wanted=shorter)
    assert np.array_equal(found.secret, -longer)
    assert found.enrolment is None
    assert store.snapshot(Ring.of(request), never, wanted=request).enrolment is not None


def test_a_key_is_read_once_while_its_file_stays_the_same(store, tmp_path, key, monkeypatch):
    add(store, key)
    first = snapshot(store, key.request).enrolment
    with monkeypatch.context() as patched:
        patched.setattr(keystore, "decode_enrolment", never)
        assert snapshot(store, key.request).enrolment is first
    path = key_file(tmp_path, key)
    path.write_bytes(path.read_bytes())  # the same bytes, but that must be looked at
    again = snapshot(store, key.request).enrolment
    assert again is not first
    assert again.key.digest == key.digest


def test_only_the_keys_used_last_are_kept_in_memory(store, key):
    for number in range(4):
        add(store, replace(key, nonce=bytes([number]) * 32))
        snapshot(store, key.request)
    assert len(store._loaded) == keystore.LOADED_KEYS


def test_a_forgotten_key_is_gone(store, tmp_path, key):
    add(store, key)
    store.forget_enrolled_key(key.digest)
    assert snapshot(store, key.request).enrolment is None
    assert list((tmp_path / "keys" / "keys").iterdir()) == []


def test_rotation_replaces_every_secret_but_not_the_identity(store, tmp_path, key):
    add(store, key)
    before = snapshot(store)
    store.count_disclosure(5, before.epoch)
    identity = store.client_id
    store.rotate()
    assert store.client_id == identity
    assert store.disclosed == 0
    after = store.snapshot(RING, lambda: -SECRET, wanted=key.request)
    assert np.array_equal(after.secret, -SECRET)
    assert after.epoch != before.epoch
    assert after.release_key != before.release_key
    assert after.enrolment is None
    assert list((tmp_path / "keys" / "keys").iterdir()) == []


@pytest.mark.rejects("C-47")
def test_a_key_of_a_secret_that_was_rotated_away_is_not_kept(store, tmp_path, key):
    """It would be found later beside the new secret, and answers under it decrypt to noise."""
    before = snapshot(store)
    KeyStore(tmp_path / "keys", passphrase="right").rotate()
    with pytest.raises(StaleSnapshotError, match="rotated"):
        store.add_enrolled_key(Enrolment(key, b"proof"), before.epoch)
    assert snapshot(store, key.request).enrolment is None
    assert list((tmp_path / "keys" / "keys").iterdir()) == []


def test_a_key_recorded_for_another_epoch_is_not_used(store, key):
    """Not even if the store's own content says so."""
    add(store, key)
    store._update(lambda content: replace(content, epoch=bytes(16)))
    assert snapshot(store, key.request).enrolment is None


def test_disclosures_of_another_epoch_are_not_counted(store):
    before = snapshot(store)
    store.rotate()
    with pytest.raises(StaleSnapshotError, match="rotated"):
        store.count_disclosure(3, before.epoch)
    assert store.disclosed == 0


def test_no_more_is_reserved_than_the_limit(store):
    epoch = snapshot(store).epoch
    store.count_disclosure(6, epoch, 10)
    with pytest.raises(StaleSnapshotError, match="taken"):
        store.count_disclosure(5, epoch, 10)
    store.count_disclosure(4, epoch, 10)
    assert store.disclosed == 10


def test_a_snapshot_without_room_is_of_a_new_epoch(store):
    before = snapshot(store)
    store.count_disclosure(8, before.epoch, 10)
    assert snapshot(store, room=2, limit=10).epoch == before.epoch
    assert snapshot(store, room=3, limit=10).epoch != before.epoch
    assert store.disclosed == 0


def test_concurrent_reservations_never_exceed_the_limit(store):
    epoch = snapshot(store).epoch

    def reserve(values: int) -> int:
        try:
            store.count_disclosure(values, epoch, 30)
        except StaleSnapshotError:
            return 0
        return values

    with ThreadPoolExecutor(8) as pool:
        assert sum(pool.map(reserve, [1] * 40)) == 30
    assert store.disclosed == 30


def test_a_store_of_another_format_is_a_key_store_error(store):
    store._write(_Other())
    with pytest.raises(KeyStoreError, match="cannot be read"):
        snapshot(store)


class _Other:
    def value(self) -> tuple[str, ...]:
        return ("something", "else")


def test_a_store_shows_and_pickles_nothing(store):
    content = snapshot(store)
    for shown in (repr(store), repr(content), repr(store._read())):
        assert content.release_key.hex() not in shown
        assert repr(content.release_key) not in shown
        assert store.client_id not in shown
    assert repr(store._read()).startswith("<")
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(store)
