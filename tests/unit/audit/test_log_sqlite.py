"""What holds of a log in a file: it is durable, private, and never replaced."""

from __future__ import annotations

import stat

import pytest
from sqlalchemy import event, text
from sqlalchemy.exc import OperationalError

from audit.database import open_engine
from audit.errors import LogUnavailableError
from audit.log import AuditLog
from audit.log_check import check_log
from tests.unit.audit.example_receipts import LOG_KEY, ORIGIN, numbered


@pytest.fixture
def path(tmp_path):
    return tmp_path / "audit.db"


@pytest.fixture
def engine(path):
    engine = open_engine(f"sqlite:///{path}")
    yield engine
    engine.dispose()


def batch(start, stop):
    return [numbered(number) for number in range(start, stop)]


def test_sqlite_is_durable_and_private(log, engine, path):
    log.append(batch(0, 1))
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA journal_mode")).scalar_one() == "wal"
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2
    for file in path.parent.iterdir():
        assert stat.S_IMODE(file.stat().st_mode) == 0o600


@pytest.mark.parametrize(
    "url",
    [
        "sqlite://",
        "sqlite:///:memory:",
        "sqlite:///file.db?mode=memory",
        "mysql://localhost/audit",
        "not a url",
        "sqlite:////nowhere/audit.db",
    ],
)
def test_only_durable_databases_are_opened(url):
    with pytest.raises(LogUnavailableError):
        open_engine(url)


def test_a_database_that_fails_is_a_typed_error_and_recovers(log, engine):
    head = log.append(batch(0, 2))
    with engine.begin() as connection:  # as a full disk would
        pages = connection.execute(text("PRAGMA page_count")).scalar_one()
    limits = []

    def limit(connection, _record, _proxy):
        connection.execute(f"PRAGMA max_page_count={limits[-1]}").close()

    event.listen(engine, "checkout", limit)
    limits.append(pages)
    with pytest.raises(LogUnavailableError, match="OperationalError") as failed:
        log.append(batch(2, 400))
    assert isinstance(failed.value.__cause__, OperationalError)
    assert log.head() == head
    limits.append(1 << 30)
    assert log.append(batch(2, 400)).size == 400
    assert check_log(engine, LOG_KEY).size == 400


def test_a_database_that_cannot_be_written_is_a_typed_error(log, path):
    log.append(batch(0, 2))
    engine = open_engine(f"sqlite:///{path}")
    event.listen(engine, "checkout", lambda connection, *_: _forbid_writing(connection))
    with pytest.raises(LogUnavailableError):
        AuditLog(engine, ORIGIN, None).append(batch(2, 3))
    engine.dispose()
    assert log.append(batch(2, 3)).size == 3


def _forbid_writing(connection):
    connection.execute("PRAGMA query_only=ON").close()


def test_a_file_that_is_gone_is_not_replaced_by_an_empty_one(log, engine, path):
    head = log.append(batch(0, 2))
    engine.dispose()  # what is in the write-ahead log goes to the file
    log.head()
    away = path.with_suffix(".away")
    path.rename(away)
    with pytest.raises(LogUnavailableError):
        log.append(batch(2, 3))
    assert not path.exists()
    away.rename(path)
    assert log.head() == head
    assert log.append(batch(2, 3)).size == 3
