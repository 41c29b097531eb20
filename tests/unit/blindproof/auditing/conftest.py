"""One trail of every kind of receipt, exported once."""

from __future__ import annotations

from pathlib import Path

import pytest

from audit.receipt import Action, Digests, Outcome
from protocol.parameters import Packing
from tests.unit.blindproof.auditing.example_trail import (
    ExampleTrail,
    answer,
    answer_with_plaintext,
    enrolment,
)


@pytest.fixture
def trail(tmp_path: Path) -> ExampleTrail:
    """An empty one."""
    return ExampleTrail(tmp_path)


@pytest.fixture(scope="session")
def varied(tmp_path_factory: pytest.TempPathFactory) -> ExampleTrail:
    """Entries: key, single, batch, public, denied, with columns in clear."""
    found = ExampleTrail(tmp_path_factory.mktemp("varied"))
    digests = Digests(key=enrolment().key.digest)
    found.happened(Action.ENROL_KEY, Outcome.ANSWERED, digests=digests)
    found.countersigned(found.answered(answer(1)))
    found.answered(answer(2, Packing.BATCH))
    found.answered(answer(3, public=True))
    found.happened(Action.PREDICT, Outcome.DENIED)
    found.answered(answer_with_plaintext())
    return found


@pytest.fixture(scope="session")
def exported(varied: ExampleTrail, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All of it, columns in clear included."""
    path = tmp_path_factory.mktemp("exported") / "trail.zip"
    varied.export(path, plaintext=True)
    return path
