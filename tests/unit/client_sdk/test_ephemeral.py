from __future__ import annotations

import gc
import os
from pathlib import Path

import pytest

from client_sdk.ephemeral import EphemeralKeyStore
from client_sdk.keystore import PASSPHRASE_VARIABLE

pytestmark = pytest.mark.usefixtures("quick_scrypt")


def test_it_is_a_key_store_whose_directory_goes_when_it_is_closed(monkeypatch):
    monkeypatch.delenv(PASSPHRASE_VARIABLE, raising=False)
    with EphemeralKeyStore() as store:
        path = store._path
        assert store.client_id.startswith("client-")
        assert path.parent.stat().st_mode & 0o777 == 0o700
        assert repr(store) == "EphemeralKeyStore(open)"
    assert not path.parent.exists()
    assert repr(store) == "EphemeralKeyStore(deleted)"
    store.close()


def test_a_forgotten_one_goes_as_well():
    store = EphemeralKeyStore()
    path = store._path
    del store
    gc.collect()
    assert not path.parent.exists()


def test_two_share_nothing():
    with EphemeralKeyStore() as first, EphemeralKeyStore() as second:
        assert first.client_id != second.client_id


def test_one_that_cannot_be_made_leaves_nothing(monkeypatch, tmp_path):
    monkeypatch.setattr("tempfile.mkdtemp", lambda prefix: str(_made(tmp_path / prefix)))
    monkeypatch.setattr(
        "client_sdk.keystore.make_private_directory", lambda path: 1 / 0, raising=True
    )
    with pytest.raises(ZeroDivisionError):
        EphemeralKeyStore()
    gc.collect()
    assert list(tmp_path.iterdir()) == []


def test_a_forked_child_leaves_it_alone():
    with EphemeralKeyStore() as store:
        child = os.fork()
        if child == 0:
            store.close()
            os._exit(0)
        assert os.waitpid(child, 0)[1] == 0
        assert store._path.exists()


def _made(path: Path) -> Path:
    path.mkdir()
    return path
