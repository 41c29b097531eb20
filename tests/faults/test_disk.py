"""Disks that are full, read-only or not there: nothing is released, and nothing has to be repaired.

Every test asks one server before, while and after its disk fails; it is the same process.
"""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from random import Random

import grpc
import pytest

from server.settings import ServerSettings
from tests.faults import disk_faults
from tests.faults.asking import Exchange, Question, asked
from tests.faults.forked import ForkedServer, Forks, ServerRefusedError
from tests.faults.ledger import Ledger, checked, opened
from tests.faults.stage import PRIVATE, PUBLIC, Stage
from wire.rpc import Reason

DISK_BYTES = 32 << 20
REPETITIONS = 3
JOURNAL_BYTES = 400 << 10
"""More than any archived object here has, so that a limit between stops the database alone."""


@dataclass
class Site:
    """A server whose disk is about to fail.

    Attributes:
        settings: its state is a copy for this test.
        spare: a directory for what the fault needs.
    """

    stage: Stage
    server: ForkedServer
    settings: ServerSettings
    spare: Path

    def ask(self, *questions: Question) -> list[Exchange]:
        return asked(self.server.address, self.stage.ca.read_bytes(), questions)


Fault = Callable[[Site], contextlib.AbstractContextManager[None]]


def full_disk(site: Site) -> contextlib.AbstractContextManager[None]:
    return disk_faults.full(site.settings.state)


def no_object_fits(site: Site) -> contextlib.AbstractContextManager[None]:
    return disk_faults.files_limited(site.server.process, 0)


@contextlib.contextmanager
def database_cannot_grow(site: Site) -> Iterator[None]:
    """Objects can be written, and the journal of the database is longer than files may be."""
    journal = site.settings.state / "audit.db-wal"
    random = Random(20260106)
    while journal.stat().st_size < JOURNAL_BYTES:
        site.ask(site.stage.prepared[PUBLIC].question(random))
    with disk_faults.files_limited(site.server.process, JOURNAL_BYTES):
        yield


def archive_read_only(site: Site) -> contextlib.AbstractContextManager[None]:
    return disk_faults.read_only(site.settings.state / "archive")


def archive_gone(site: Site) -> contextlib.AbstractContextManager[None]:
    return disk_faults.gone(site.settings.state / "archive")


def database_gone(site: Site) -> contextlib.AbstractContextManager[None]:
    return disk_faults.gone(*disk_faults.database(site.settings.state))


def older_database(site: Site) -> contextlib.AbstractContextManager[None]:
    return disk_faults.replaced(site.settings.state, site.spare / "older.db")


def empty_database(site: Site) -> contextlib.AbstractContextManager[None]:
    (site.spare / "empty.db").touch()
    return disk_faults.replaced(site.settings.state, site.spare / "empty.db")


def no_database(site: Site) -> contextlib.AbstractContextManager[None]:
    (site.spare / "other.db").write_bytes(os.urandom(1 << 14))
    return disk_faults.replaced(site.settings.state, site.spare / "other.db")


ANYWHERE: list[Fault] = [
    no_object_fits,
    database_cannot_grow,
    archive_gone,
    database_gone,
    older_database,
    empty_database,
    no_database,
]
NEEDS_MOUNTS: list[Fault] = [full_disk, archive_read_only]


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Path]:
    """Where the state goes: a small disk of its own, where that can be had."""
    disk = tmp_path / "disk"
    if not disk_faults.may_mount(disk):
        disk.mkdir(exist_ok=True)
        yield disk
        return
    with disk_faults.mounted(disk, "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs"):
        yield disk


class LogPipe:
    """Takes what a server logs through a pipe, whose size no fault can limit.

    Attributes:
        path: of the pipe.
        logged: what has come so far.
    """

    END = b"\0"

    def __init__(self, path: Path) -> None:
        os.mkfifo(path)
        self.path = path
        self.logged = bytearray()
        self._end = os.open(path, os.O_RDWR)  # both, so that it never ends by itself
        self._thread = threading.Thread(target=self._take)
        self._thread.start()

    def _take(self) -> None:
        while not self.logged.endswith(self.END):
            self.logged += os.read(self._end, 1 << 16)

    def close(self) -> None:
        os.write(self._end, self.END)
        self._thread.join()
        os.close(self._end)


def suffer(stage: Stage, servers: Forks, place: Path, spare: Path, fault: Fault) -> None:
    """Ask before, while and after a disk fails, and reckon."""
    random = Random(20260107)
    settings = stage.copy(place / "state")
    ledger = Ledger(settings.state)
    ledger.settle([])
    disk_faults.copied_database(settings.state, spare / "older.db")

    def questions() -> list[Question]:
        return [stage.prepared[name].question(random) for name in (PUBLIC, PRIVATE, PUBLIC)]

    before, during, after = questions(), questions(), questions()
    with (
        contextlib.closing(LogPipe(spare / "log")) as log,
        servers.running(settings, log=log.path) as server,
    ):
        site = Site(stage, server, settings, spare)
        answered = site.ask(*before)
        assert all(exchange.receipt for exchange in answered)
        with fault(site):
            said = len(log.logged)
            for _ in range(REPETITIONS):
                for exchange in site.ask(*during):
                    assert exchange.messages == []
                    assert exchange.status is grpc.StatusCode.UNAVAILABLE
                    assert exchange.reason == Reason.AUDIT_UNAVAILABLE
                for exchange, first in zip(site.ask(*before), answered, strict=True):
                    _require_nothing_new(exchange, first)
        assert b'"level": "error"' in log.logged[said:]
        again = site.ask(*during, *before, *after)
    for exchange in again:
        assert exchange.status is grpc.StatusCode.OK, exchange
        assert exchange.receipt is not None
    assert ledger.settle([*answered, *again]) == []
    with opened(settings.state) as trail:
        assert checked(trail) == ledger.head


def _require_nothing_new(exchange: Exchange, first: Exchange) -> None:
    """What was answered before may be answered again, if it can be read; nothing else."""
    if exchange.status is grpc.StatusCode.OK:
        assert exchange.messages[:-1] == first.messages[:-1]
        assert exchange.receipt is not None
        assert first.receipt is not None
        assert exchange.receipt.entry == first.receipt.entry
    else:
        assert exchange.messages == []
        assert exchange.reason == Reason.AUDIT_UNAVAILABLE


@pytest.mark.rejects("C-95")
@pytest.mark.parametrize("fault", ANYWHERE, ids=lambda fault: fault.__name__)
def test_nothing_is_released_while_a_disk_fails_and_all_is_well_afterwards(
    stage: Stage, servers: Forks, place: Path, tmp_path: Path, fault: Fault
):
    suffer(stage, servers, place, tmp_path, fault)


@pytest.mark.parametrize("fault", NEEDS_MOUNTS, ids=lambda fault: fault.__name__)
def test_the_same_with_disks_that_only_an_administrator_can_make(
    stage: Stage, servers: Forks, place: Path, tmp_path: Path, fault: Fault
):
    if not place.is_mount():
        pytest.skip("file systems cannot be mounted here; limits of file sizes are tested instead")
    suffer(stage, servers, place, tmp_path, fault)


def test_a_server_does_not_start_on_a_read_only_state(stage: Stage, servers: Forks, tmp_path: Path):
    if not disk_faults.may_mount(tmp_path / "probe"):
        pytest.skip("file systems cannot be mounted here")
    settings = stage.copy(tmp_path / "state")
    with (
        disk_faults.read_only(settings.state),
        pytest.raises(ServerRefusedError, match="ServerError: "),
    ):
        servers.start(settings)
    with servers.running(settings) as server:
        question = stage.prepared[PUBLIC].question(Random(1))
        (exchange,) = asked(server.address, stage.ca.read_bytes(), [question])
        assert exchange.receipt is not None
