"""Settings and fixtures which every test shares."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import settings

# Deadlines would measure the machine, not the code. A failure must be repeatable by whoever reads
# the log of a CI run, so the examples of that profile are fixed and printed.
settings.register_profile("default", deadline=None, max_examples=50)
settings.register_profile(
    "ci", deadline=None, max_examples=50, derandomize=True, database=None, print_blob=True
)
settings.load_profile("ci" if os.environ.get("CI") else "default")


@pytest.fixture(scope="session")
def repository_root() -> Path:
    """The folder which holds pyproject.toml."""
    return Path(__file__).resolve().parent.parent


@pytest.fixture
def rng() -> np.random.Generator:
    """A generator of test inputs, the same in every run; never a source of secrets."""
    return np.random.default_rng(20260101)
