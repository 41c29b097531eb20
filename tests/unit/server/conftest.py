from __future__ import annotations

import pytest

from protocol.parameters import Mode
from server.registry import ModelBundle
from tests.integration import example_models


@pytest.fixture(scope="session")
def bundle() -> ModelBundle:
    return example_models.bundle(example_models.linear_model())


@pytest.fixture(scope="session")
def public_bundle() -> ModelBundle:
    return example_models.bundle(example_models.linear_model(), Mode.PUBLIC)
