"""Logs of older schemas, of newer ones, and those who open them."""

from __future__ import annotations

import subprocess
import sys
import threading

import pytest
from sqlalchemy import inspect, select, text, update

from audit.database import open_engine
from audit.entry import require_filed
from audit.errors import LogStateError
from audit.log import AuditLog
from audit.log_check import check_log
from audit.schema import SCHEMA_VERSION, entries, heads, metadata
from tests.unit.audit.example_receipts import LOG, LOG_KEY, ORIGIN, SERVER, numbered
from tests.unit.audit.version_1_log import make_version_1

SIZE = 8
MANY = 100
"""More statements than opening an old log takes."""


@pytest.fixture
def old_url(database_url):
    make_version_1(database_url)
    return database_url


@pytest.fixture
def engine(database_url):
    engine = open_engine(database_url)
    yield engine
    engine.dispose()


def shape(engine):
    """Tables, columns, keys and indices."""
    found = inspect(engine)
    return {
        table: (
            [
                (column["name"], repr(column["type"]), column["nullable"])
                for column in found.get_columns(table)
            ],
            found.get_pk_constraint(table)["constrained_columns"],
            sorted(one["column_names"] for one in found.get_unique_constraints(table)),
            sorted(
                (one["name"], one["column_names"])
                for one in found.get_indexes(table)
                if "duplicates_constraint" not in one
            ),
        )
        for table in sorted(found.get_table_names())
    }


def test_an_old_log_is_the_same_log_after_its_migration(old_url, engine):
    with engine.connect() as connection:
        before = connection.execute(
            text("SELECT position, leaf, data FROM audit_entries ORDER BY position")
        ).all()
    log = AuditLog.open(engine, ORIGIN)
    assert [(one.index, one.data) for one in log.entries()] == [(row[0], row[2]) for row in before]
    assert log.entry(6).receipt() == numbered(5)
    head = check_log(engine, LOG_KEY, server_key=SERVER.public)
    assert head == log.head()
    assert head.size == SIZE
    assert log.latest_checkpoint() == log.checkpoint(LOG)
    assert log.append([numbered(number) for number in range(20, 25)]).size == SIZE + 5
    assert check_log(engine, LOG_KEY, server_key=SERVER.public).size == SIZE + 5


def test_the_columns_of_old_entries_are_filled(old_url, engine):
    AuditLog.open(engine, ORIGIN)
    with engine.connect() as connection:
        rows = connection.execute(select(entries).order_by(entries.c.position)).all()
        log = AuditLog(engine, ORIGIN, None)
        for row in rows:
            require_filed(row.position, log.entry(row.position).receipt().receipt, row)
    assert [row.outcome for row in rows] == ["answered"] * 5 + ["denied"] + ["answered"] * 2
    assert (rows[5].reason, rows[7].actor, rows[7].model) == ("RequestError", "ward-8", None)


def test_migrated_and_new_databases_have_one_shape(old_url, engine, tmp_path, request):
    AuditLog.open(engine, ORIGIN)
    if engine.dialect.name == "sqlite":
        fresh = open_engine(f"sqlite:///{tmp_path}/fresh.db")
        AuditLog.open(fresh, ORIGIN)
        migrated, new = shape(engine), shape(fresh)
    else:
        migrated = shape(engine)
        fresh = engine
        with engine.begin() as connection:
            metadata.drop_all(connection)
        AuditLog.open(fresh, ORIGIN)
        new = shape(fresh)
    fresh.dispose()
    assert migrated == new


def test_many_who_open_an_old_log_at_once_find_it_migrated(old_url):
    barrier, heads, failures = threading.Barrier(4), [], []

    def work():
        engine = open_engine(old_url)
        barrier.wait()
        try:
            heads.append(AuditLog.open(engine, ORIGIN).head())
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)
        engine.dispose()

    run(work, 4)
    assert failures == []
    assert {head.size for head in heads} == {SIZE}


def test_logs_are_migrated_side_by_side_in_one_process(tmp_path):
    urls = [f"sqlite:///{tmp_path}/{number}.db" for number in range(4)]
    for url in urls:
        make_version_1(url)
    barrier, waiting, heads = threading.Barrier(4), list(urls), []

    def work():
        engine = open_engine(waiting.pop())
        barrier.wait()
        heads.append(AuditLog.open(engine, ORIGIN).head())
        engine.dispose()

    run(work, 4)
    assert [head.size for head in heads] == [SIZE] * 4
    for url in urls:
        engine = open_engine(url)
        assert check_log(engine, LOG_KEY).size == SIZE
        engine.dispose()


def test_many_who_open_a_new_database_at_once_find_one_log(database_url):
    barrier, failures = threading.Barrier(4), []

    def work():
        engine = open_engine(database_url)
        barrier.wait()
        try:
            AuditLog.open(engine, ORIGIN)
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)
        engine.dispose()

    run(work, 4)
    assert failures == []


def run(work, count):
    threads = [threading.Thread(target=work) for _ in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def test_a_process_that_is_killed_leaves_the_old_schema_or_the_new(
    old_url, engine, repository_root
):
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.unit.audit.migrating_process", old_url],
        cwd=repository_root,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    answers, old = [], shape(engine)
    engine.dispose()
    with process:
        for last in range(1, MANY):
            process.stdin.write(f"{last}\n")
            process.stdin.flush()
            answers.append(process.stdout.readline().strip())
            if answers[-1] == "opened":
                break
            with engine.connect() as connection:
                version = connection.execute(text("SELECT schema_version FROM audit_head"))
                assert version.scalar_one() == 1
            assert shape(engine) == old
            engine.dispose()
        process.stdin.close()
    assert answers == ["killed"] * (len(answers) - 1) + ["opened"]
    assert len(answers) > 20  # statements of the migration itself
    assert check_log(engine, LOG_KEY, server_key=SERVER.public).size == SIZE


@pytest.mark.parametrize("version", [-1, 0, SCHEMA_VERSION + 1, 11])
def test_an_unknown_version_is_refused_and_left_alone(old_url, engine, version):
    with engine.begin() as connection:
        connection.execute(update(heads).values(schema_version=version))
    before = shape(engine)
    with pytest.raises(LogStateError, match=f"schema {version} is"):
        AuditLog.open(engine, ORIGIN)
    assert shape(engine) == before


def test_a_damaged_entry_stops_the_migration(old_url, engine):
    with engine.begin() as connection:
        connection.execute(
            text("UPDATE audit_entries SET data = :data WHERE position = 3"),
            {"data": numbered(9).entry()},
        )
    before = shape(engine)
    with pytest.raises(LogStateError, match="entry 3"):
        AuditLog.open(engine, ORIGIN)
    assert shape(engine) == before


def test_an_old_log_is_not_checked_as_if_it_were_a_new_one(old_url, engine):
    with pytest.raises(LogStateError, match="schema 1"):
        check_log(engine, LOG_KEY)


def test_who_was_started_before_a_migration_stops_writing(old_url, engine):
    log = AuditLog.open(engine, ORIGIN)
    with engine.begin() as connection:
        connection.execute(text("UPDATE audit_head SET schema_version = 3"))
    with pytest.raises(LogStateError, match="schema 3"):
        log.append([numbered(30)])


def test_a_log_of_this_version_is_opened_without_alembic(tmp_path, repository_root):
    script = (
        "import sys; from audit.database import open_engine; from audit.log import AuditLog; "
        f"AuditLog.open(open_engine('sqlite:///{tmp_path}/audit.db'), '{ORIGIN}'); "
        "sys.exit('alembic' in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", script], cwd=repository_root, check=True)
