from __future__ import annotations

import numpy as np
import pytest

from client_sdk import keystore
from client_sdk.keystore import KeyStore
from fhe_layers.moduli import modulus_chain
from protocol.keys import EnrolledKey, KeyRequest
from protocol.model import ModelCard
from tests.integration import example_models

MODULI, _ = modulus_chain(4096, 1)


@pytest.fixture
def quick_scrypt(monkeypatch) -> None:
    monkeypatch.setattr(keystore, "SCRYPT_LOG2_COST", 4)


@pytest.fixture
def store(tmp_path, quick_scrypt) -> KeyStore:
    return KeyStore(tmp_path / "keys", passphrase="right")


@pytest.fixture
def key(store: KeyStore) -> EnrolledKey:
    request = KeyRequest(store.client_id, "server", 4096, MODULI, 2)
    words = np.random.default_rng(3).integers(0, MODULI[0], (2, 1, 4096)).astype(np.uint64)
    return EnrolledKey(request, bytes(32), bytes(32), words)


@pytest.fixture(scope="session")
def card() -> ModelCard:
    return example_models.bundle(example_models.linear_model()).card
