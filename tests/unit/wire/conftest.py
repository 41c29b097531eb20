"""A small ring: codecs do not care how long a polynomial is."""

from __future__ import annotations

import numpy as np
import pytest

from fhe_layers.moduli import modulus_chain
from protocol.keys import EnrolledKey, KeyRequest
from server.registry import ModelBundle
from tests.integration import example_models


@pytest.fixture(scope="session")
def bundle() -> ModelBundle:
    return example_models.bundle(example_models.linear_model(outputs=2, link="argmax"))


@pytest.fixture(scope="session")
def key() -> EnrolledKey:
    moduli, _ = modulus_chain(4096, 1)
    request = KeyRequest("client", "server", 4096, moduli, 2)
    words = np.random.default_rng(3).integers(0, moduli[0], (2, 1, 4096)).astype(np.uint64)
    return EnrolledKey(request, bytes(32), bytes(range(32)), words)
