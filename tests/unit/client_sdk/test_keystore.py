from __future__ import annotations

import pickle
import stat
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from client_sdk.keystore import PASSPHRASE_VARIABLE, KeyStore
from protocol.errors import KeyStoreError
from tests.unit.client_sdk.conftest import MODULI
from wire.stored_key import Enrolment, encode_enrolment

SECRET = np.random.default_rng(9).integers(-1, 2, 4096).astype(np.int8)


def never() -> np.ndarray:
    raise AssertionError("a secret was made again")


def test_a_store_is_the_same_when_opened_again(store, tmp_path, key):
    assert np.array_equal(store.secret(4096, lambda: SECRET), SECRET)
    store.add_enrolled_key(Enrolment(key, b"proof"))
    store.count_disclosure(7)
    again = KeyStore(tmp_path / "keys", passphrase="right")
    assert again.client_id == store.client_id
    assert again.release_key == store.release_key
    assert again.disclosed == 7
    assert np.array_equal(again.secret(4096, never), SECRET)
    found = again.enrolled_key(store.client_id, "server", 4096, MODULI, 2)
    assert found is not None
    assert found.key.digest == key.digest
    assert found.proof == b"proof"


def test_two_stores_share_nothing(tmp_path, quick_scrypt):
    one, other = (KeyStore(tmp_path / name, passphrase="same") for name in "ab")
    assert one.client_id != other.client_id
    assert one.release_key != other.release_key


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
    store.secret(4096, lambda: SECRET)
    data = (tmp_path / "keys" / "secrets.bin").read_bytes()
    assert SECRET.tobytes()[:64] not in data
    assert store.release_key not in data
    assert store.client_id.encode() not in data


def test_files_are_private(store, tmp_path, key):
    store.add_enrolled_key(Enrolment(key, b"proof"))
    root = tmp_path / "keys"
    assert stat.S_IMODE(root.stat().st_mode) == 0o700
    for path in root.rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)


@pytest.mark.parametrize("position", [0, 20, 60, 100, -1])
def test_an_altered_store_is_refused(store, tmp_path, position: int):
    path = tmp_path / "keys" / "secrets.bin"
    data = bytearray(path.read_bytes())
    data[position] ^= 1
    path.write_bytes(data)
    with pytest.raises(KeyStoreError):
        KeyStore(tmp_path / "keys", passphrase="right")


def test_an_enrolled_key_put_there_by_somebody_else_is_not_used(store, tmp_path, key):
    (tmp_path / "keys" / "keys" / f"{key.digest.hex()}.key").write_bytes(
        encode_enrolment(Enrolment(key, b"proof"))
    )
    assert store.enrolled_key(store.client_id, "server", 4096, MODULI, 2) is None


def test_an_altered_enrolled_key_is_refused(store, tmp_path, key):
    store.add_enrolled_key(Enrolment(key, b"proof"))
    path = tmp_path / "keys" / "keys" / f"{key.digest.hex()}.key"
    data = bytearray(path.read_bytes())
    data[-200] ^= 1
    path.write_bytes(data)
    with pytest.raises(KeyStoreError, match="not the one"):
        store.enrolled_key(store.client_id, "server", 4096, MODULI, 2)


@pytest.mark.parametrize(
    "wanted",
    [
        ("somebody", "server", 4096, MODULI, 2),
        (None, "another server", 4096, MODULI, 2),
        (None, "server", 8192, MODULI, 2),
        (None, "server", 4096, (MODULI[0] + 2,), 2),
        (None, "server", 4096, MODULI, 3),
    ],
)
def test_a_key_is_used_only_where_it_fits(store, key, wanted):
    store.add_enrolled_key(Enrolment(key, b"proof"))
    client, *rest = wanted
    assert store.enrolled_key(client or store.client_id, *rest) is None


def test_a_forgotten_key_is_gone(store, tmp_path, key):
    store.add_enrolled_key(Enrolment(key, b"proof"))
    store.forget_enrolled_key(key.digest)
    assert store.enrolled_key(store.client_id, "server", 4096, MODULI, 2) is None
    assert list((tmp_path / "keys" / "keys").iterdir()) == []


def test_rotation_replaces_every_secret_but_not_the_identity(store, key):
    store.secret(4096, lambda: SECRET)
    store.add_enrolled_key(Enrolment(key, b"proof"))
    store.count_disclosure(5)
    identity, release_key = store.client_id, store.release_key
    store.rotate()
    assert store.client_id == identity
    assert store.release_key != release_key
    assert store.disclosed == 0
    assert store.enrolled_key(identity, "server", 4096, MODULI, 2) is None
    assert np.array_equal(store.secret(4096, lambda: -SECRET), -SECRET)


def test_concurrent_counting_loses_nothing(store):
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(store.count_disclosure, [1] * 40))
    assert store.disclosed == 40


def test_a_store_shows_and_pickles_nothing(store):
    assert store.release_key.hex() not in repr(store)
    assert store.client_id not in repr(store)
    assert repr(store._read()).startswith("<")
    with pytest.raises(TypeError, match="cannot be pickled"):
        pickle.dumps(store)
