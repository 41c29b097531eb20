from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from tests.unit.audit.example_receipts import LOG_KEY
from witness.cosigning import CosigningWitness
from witness.keys import SEEN_FILE, WitnessKeys, make_state
from witness.seen import SeenHeads

NAME = "witness.example/w1"


@pytest.fixture(autouse=True)
def quiet() -> Iterator[None]:
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture
def keys() -> WitnessKeys:
    return WitnessKeys.generate(NAME, bls=False)


@pytest.fixture
def state(tmp_path, keys):
    path = tmp_path / "witness"
    make_state(path, keys)
    return path


@pytest.fixture
def seen(state) -> Iterator[SeenHeads]:
    opened = SeenHeads(state / SEEN_FILE)
    yield opened
    opened.close()


@pytest.fixture
def witness(keys, seen) -> CosigningWitness:
    return CosigningWitness(keys, [LOG_KEY], seen)
