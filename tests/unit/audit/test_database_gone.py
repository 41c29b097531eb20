"""A database server that goes away, and processes that share one."""

from __future__ import annotations

import secrets
import subprocess
import sys
import threading

import pytest
from sqlalchemy import text

from audit.archive import Archive, ObjectKind
from audit.countersignatures import countersign
from audit.database import open_engine, writing_sessions
from audit.errors import LogUnavailableError
from audit.log import AuditLog
from audit.log_check import check_log
from audit.object_store import FileStore
from audit.retention import RetentionRules, sweep
from audit.sealing import SealingKeys
from audit.search import Query, search
from audit.store_check import check_store
from tests.unit.audit.example_receipts import CLIENT, LOG, LOG_KEY, ORIGIN, SERVER, numbered
from tests.unit.audit.postgresql_cluster import Cluster, find_binaries

APPENDING = """
import sys
from audit.database import open_engine
from audit.errors import DuplicateReceiptError
from audit.log import AuditLog
from tests.unit.audit.example_receipts import LOG, ORIGIN, numbered
url, first, count, step = sys.argv[1], *map(int, sys.argv[2:])
log = AuditLog.open(open_engine(url), ORIGIN)
for number in range(first, first + count, step):
    log.append([numbered(at) for at in range(number, number + step)])
    log.head()
    log.checkpoint(LOG)
try:
    log.append([numbered(1_000_000)])
    print("first")
except DuplicateReceiptError:
    print("second")
"""


def test_processes_append_one_after_another(log, engine, database_url, repository_root):
    processes = [
        subprocess.Popen(
            [sys.executable, "-c", APPENDING, database_url, str(first), "120", "3"],
            cwd=repository_root,
            stdout=subprocess.PIPE,
            text=True,
        )
        for first in (0, 1000)
    ]
    answers = [process.communicate(timeout=120)[0].strip() for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(answers) == ["first", "second"]  # of a receipt of both
    assert log.head().size == 241
    assert check_log(engine, LOG_KEY, server_key=SERVER.public) == log.head()


def test_readers_see_a_whole_log_while_it_grows(log, database_url):
    """The head, the entries and the nodes of one moment."""
    stop, failures = threading.Event(), []

    def read():
        own = open_engine(database_url)
        try:
            reader = AuditLog.open(own, ORIGIN)
            while not stop.is_set():
                head = reader.head()
                if head.size:
                    assert reader.inclusion_proof(head.size - 1).head.size >= head.size
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)
        own.dispose()

    thread = threading.Thread(target=read)
    thread.start()
    for number in range(60):
        log.append([numbered(number)])
    stop.set()
    thread.join()
    assert failures == []


@pytest.fixture
def own_cluster(cluster):
    """Another one, which may be stopped."""
    cluster = Cluster(find_binaries())
    yield cluster
    cluster.remove()


def test_a_server_that_goes_away_is_a_typed_error_and_recovers(own_cluster, tmp_path):
    engine = open_engine(own_cluster.url("postgres"))
    log = AuditLog.open(engine, ORIGIN)
    archive = Archive(engine, FileStore(tmp_path / "archive"), SealingKeys(tmp_path / "sealing"))
    head = log.append([numbered(number) for number in range(5)])
    kept = archive.keep(ObjectKind.MODEL, b"m", b"model", tenant="clinic")
    half = writing_sessions(engine)()
    log.append_within(half, [numbered(5)])
    archive.record_within(half, [kept])
    own_cluster.stop()
    receipt = numbered(1)
    for attempt in (
        lambda: log.append_within(half, [numbered(6)]),
        lambda: log.append([numbered(6)]),
        log.head,
        lambda: log.entry(0),
        lambda: list(log.entries()),
        lambda: log.inclusion_proof(0),
        lambda: log.checkpoint(LOG),
        log.latest_checkpoint,
        lambda: AuditLog.open(engine, ORIGIN),
        lambda: archive.find(ObjectKind.MODEL, b"m"),
        lambda: sweep(archive, RetentionRules(0, 0), 1),
        lambda: list(search(log, Query())),
        lambda: check_log(engine, LOG_KEY),
        lambda: check_store(engine, archive.store),
        lambda: countersign(log, receipt.receipt.receipt_id, receipt.countersigned(CLIENT).client),
    ):
        with pytest.raises(LogUnavailableError) as refused:
            attempt()
        assert "INSERT" not in str(refused.value)
    half.close()
    own_cluster.start()
    assert log.head() == head  # nothing of what failed
    assert archive.find(ObjectKind.MODEL, b"m") is None
    assert log.append([numbered(5)]).size == 6
    with writing_sessions(engine)() as session:
        archive.record_within(session, [kept])
        session.commit()
    assert archive.read(ObjectKind.MODEL, b"m") == b"model"
    assert check_log(engine, LOG_KEY).size == 6
    engine.dispose()


def test_a_server_that_was_never_there_is_a_typed_error(tmp_path):
    engine = open_engine(f"postgresql:///audit?host={tmp_path}&user={secrets.token_hex(4)}")
    with pytest.raises(LogUnavailableError):
        AuditLog.open(engine, ORIGIN)


def test_postgresql_commits_durably_and_keeps_the_options_of_the_url(postgresql_url):
    engine = open_engine(f"{postgresql_url}&options=-c%20work_mem%3D1MB&application_name=audit")
    with engine.connect() as connection:
        shown = {
            name: connection.execute(text(f"SHOW {name}")).scalar_one()
            for name in ("synchronous_commit", "work_mem", "lock_timeout", "application_name")
        }
        isolation = connection.execute(text("SHOW transaction_isolation")).scalar_one()
    assert shown == {
        "synchronous_commit": "on",
        "work_mem": "1MB",
        "lock_timeout": "30s",
        "application_name": "audit",
    }
    assert isolation == "repeatable read"
    engine.dispose()


def test_without_a_driver_it_is_said_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(LogUnavailableError, match=r"blindproof\[postgresql\]"):
        open_engine("postgresql:///audit")
