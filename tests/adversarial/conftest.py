"""Honest answers that the attacks start from, made once."""

from __future__ import annotations

import pytest

from tests.adversarial.scenario import SERVER_KEY, Batch, Single, make_batch, make_single
from zk_layers.prove import prove_linear


@pytest.fixture(scope="session")
def batch() -> Batch:
    return make_batch()


@pytest.fixture(scope="session")
def two_outputs() -> Batch:
    return make_batch(outputs=2, seed=3)


@pytest.fixture(scope="session")
def single() -> Single:
    return make_single()


@pytest.fixture(scope="session")
def single_two_outputs() -> Single:
    return make_single(outputs=2, seed=4)


@pytest.fixture(scope="session")
def batch_proof(batch: Batch) -> bytes:
    return prove_linear(batch.relation, batch.secrets, SERVER_KEY)


@pytest.fixture(scope="session")
def two_outputs_proof(two_outputs: Batch) -> bytes:
    return prove_linear(two_outputs.relation, two_outputs.secrets, SERVER_KEY)


@pytest.fixture(scope="session")
def single_proof(single: Single) -> bytes:
    return prove_linear(single.relation, single.secrets, SERVER_KEY)


@pytest.fixture(scope="session")
def single_two_outputs_proof(single_two_outputs: Single) -> bytes:
    return prove_linear(single_two_outputs.relation, single_two_outputs.secrets, SERVER_KEY)
