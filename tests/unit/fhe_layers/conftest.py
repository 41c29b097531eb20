"""Real SEAL contexts of both packings, under one secret, made once per session."""

from __future__ import annotations

import numpy as np
import pytest

from fhe_layers.ckks import CkksContext, CkksSecretContext
from fhe_layers.moduli import modulus_chain
from protocol.parameters import CkksParameters

RING_DEGREE = 8192


@pytest.fixture(scope="session")
def batch_context() -> CkksContext:
    return CkksContext(CkksParameters(RING_DEGREE, *modulus_chain(RING_DEGREE, 3), 100))


@pytest.fixture(scope="session")
def single_context() -> CkksContext:
    return CkksContext(CkksParameters(RING_DEGREE, *modulus_chain(RING_DEGREE, 2), 60))


@pytest.fixture(scope="session")
def secret(batch_context: CkksContext) -> np.ndarray:
    return batch_context.generate_secret()


@pytest.fixture(scope="session")
def batch(batch_context: CkksContext, secret: np.ndarray) -> CkksSecretContext:
    return batch_context.with_secret(secret)


@pytest.fixture(scope="session")
def single(single_context: CkksContext, secret: np.ndarray) -> CkksSecretContext:
    return single_context.with_secret(secret)
