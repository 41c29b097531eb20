"""What the operator's guide says of a log in PostgreSQL: dump the database, then copy the files."""

from __future__ import annotations

import subprocess
from contextlib import closing
from dataclasses import replace

import pytest
from sqlalchemy import create_engine, text

from audit.archive import ObjectKind
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.database import writing_sessions
from audit.errors import LogStateError
from audit.log_check import check_log
from audit.signed_receipt import sign_receipt
from audit.store_check import check_store
from server.backup import back_up, restore
from server.trail_files import TrailFiles, open_trail_files
from tests.unit.audit.example_receipts import DENIED, ORIGIN
from tests.unit.audit.postgresql_cluster import find_binaries


def record(trail: TrailFiles, number: int) -> None:
    """A refusal, and an object that is archived."""
    receipt = replace(DENIED, receipt_id=bytes([number]) * 16)
    trail.log.append([sign_receipt(receipt, trail.key)])
    name = bytes([number]) * 32
    kept = trail.archive.keep(ObjectKind.ENROLMENT, name, bytes([number]) * 1000, tenant="clinic")
    with writing_sessions(trail.engine).begin() as session:
        trail.archive.record_within(session, [kept])


def checkpoint(trail: TrailFiles) -> bytes:
    head = trail.log.head()
    note = sign_checkpoint(Checkpoint(trail.log.origin, head.size, head.root), trail.key)
    return note.encoded()


def emptied(url: str) -> None:
    """Drop all that is in a database."""
    engine = create_engine(url.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as connection:
        connection.execute(text("DROP SCHEMA public CASCADE"))
        connection.execute(text("CREATE SCHEMA public"))
    engine.dispose()


@pytest.fixture
def run(postgresql_url):
    """Runs a program of PostgreSQL's."""

    def started(program: str, *arguments: object) -> None:
        beside = (find_binaries() / "initdb").resolve().parent  # which may be a link
        subprocess.run([beside / program, *map(str, arguments)], check=True, timeout=60)

    return started


def test_a_dump_and_a_backup_make_the_log_again(postgresql_url, run, tmp_path):
    state, dump = tmp_path / "state", tmp_path / "log.dump"
    with closing(open_trail_files(state, postgresql_url, origin=ORIGIN)) as trail:
        for number in range(3):
            record(trail, number)
        kept = checkpoint(trail)
        run("pg_dump", "--format=custom", "--no-owner", f"--file={dump}", postgresql_url)
        record(trail, 3)  # between dump and backup: an object more, which no row names
        later = checkpoint(trail)
        copied = back_up(tmp_path / "backup", state)
    assert (copied.logs, copied.elsewhere) == ({}, ("state",))

    emptied(postgresql_url)
    run("pg_restore", "--exit-on-error", "--no-owner", f"--dbname={postgresql_url}", dump)
    restore(tmp_path / "backup", tmp_path / "new")
    with closing(open_trail_files(tmp_path / "new", postgresql_url)) as trail:
        # Which is what `blindproof audit fsck --database ... --checkpoint ...` does.
        checking = {"server_key": trail.key.public}
        assert check_log(trail.engine, trail.log_key, kept=[kept], **checking).size == 3
        found = check_store(trail.engine, trail.archive.store)
        assert (found.whole, found.rows, found.orphans) == (True, 3, 1)
        with pytest.raises(LogStateError, match="has 3 entries and had 4"):
            check_log(trail.engine, trail.log_key, kept=[later], **checking)
        record(trail, 3)
        assert trail.log.head().size == 4
