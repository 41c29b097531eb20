"""Databases: what the log promises, it promises over both."""

from __future__ import annotations

import logging
import os
import secrets
import warnings

import pytest
import structlog
from sqlalchemy import create_engine, text

from audit.archive import Archive
from audit.database import open_engine
from audit.log import AuditLog
from audit.object_store import FileStore
from audit.sealing import SealingKeys
from tests.unit.audit.example_receipts import ORIGIN
from tests.unit.audit.postgresql_cluster import Cluster, find_binaries


@pytest.fixture(scope="session")
def cluster():
    """A running PostgreSQL; where CI is set, its absence is a failure."""
    binaries = find_binaries()
    if binaries is None:
        missing = pytest.fail if os.environ.get("CI") == "true" else pytest.skip
        missing("PostgreSQL is not installed: neither initdb on PATH nor in its usual place")
    cluster = Cluster(binaries)
    yield cluster
    cluster.remove()


@pytest.fixture
def postgresql_url(cluster):
    """A new database."""
    name = f"audit_{secrets.token_hex(8)}"
    server = create_engine(
        cluster.url("postgres").replace("postgresql:", "postgresql+psycopg:"),
        isolation_level="AUTOCOMMIT",
    )
    with server.connect() as connection:
        connection.execute(text(f"CREATE DATABASE {name}"))
    yield cluster.url(name)
    with server.connect() as connection:
        connection.execute(text(f"DROP DATABASE {name} WITH (FORCE)"))
    server.dispose()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request, tmp_path):
    """A new database of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/audit.db"
    return request.getfixturevalue("postgresql_url")


@pytest.fixture
def engine(database_url):
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


@pytest.fixture
def log(engine):
    return AuditLog.open(engine, ORIGIN)


@pytest.fixture
def sealing_keys(tmp_path):
    return SealingKeys(tmp_path / "sealing")


@pytest.fixture
def archive(log, tmp_path, sealing_keys):
    return Archive(log.engine, FileStore(tmp_path / "archive"), sealing_keys)


@pytest.fixture
def output_restored():
    """Leaves the logging of this process as it was."""
    root = logging.getLogger()
    handlers, level, shown = root.handlers[:], root.level, warnings.showwarning
    yield
    root.handlers[:] = handlers
    root.setLevel(level)
    warnings.showwarning = shown
    structlog.reset_defaults()
