"""One stage for all tests of faults, and the process from which servers are forked."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from tests.faults.forked import Forks, forks
from tests.faults.stage import Stage, build_stage


@pytest.fixture(scope="session", autouse=True)
def quiet_server() -> Iterator[None]:
    """No log lines of servers in this process."""
    structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))
    yield
    structlog.reset_defaults()


@pytest.fixture(scope="session")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Stage:
    return build_stage(tmp_path_factory.mktemp("stage"))


@pytest.fixture(scope="session")
def servers(repository_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forks]:
    with forks(repository_root, tmp_path_factory.mktemp("logs")) as started:
        yield started
