from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import sqlite3
import stat
import subprocess
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from typer.testing import CliRunner

from audit.archive import ObjectKind
from audit.checkpoint import Checkpoint, sign_checkpoint
from audit.database import writing_sessions
from audit.signed_receipt import sign_receipt
from blindproof.cli import app
from server import backup as backups
from server.backup import BackupError, back_up, restore
from server.trail_files import TrailFiles, open_trail_files
from tests.unit.audit.example_receipts import DENIED


def record(trail: TrailFiles, *numbers: int) -> None:
    """Refusals, which name no objects, and an object of each that nobody asks for."""
    for number in numbers:
        receipt = replace(DENIED, receipt_id=bytes([number]) * 16)
        trail.log.append([sign_receipt(receipt, trail.key)])
        content = bytes([number]) * 1000
        kept = trail.archive.keep(ObjectKind.ENROLMENT, bytes([number]) * 32, content, tenant="t")
        with writing_sessions(trail.engine).begin() as session:
            trail.archive.record_within(session, [kept])


def checkpoint(trail: TrailFiles) -> bytes:
    head = trail.log.head()
    return sign_checkpoint(Checkpoint(trail.log.origin, head.size, head.root), trail.key).encoded()


@pytest.fixture(autouse=True)
def powered(monkeypatch):
    """No test loses power: other programs' data need not be waited for."""
    synced: list[None] = []
    monkeypatch.setattr(os, "sync", lambda: synced.append(None))
    return synced


@pytest.fixture
def trails():
    """Opens trails, which are closed at the end."""
    with contextlib.ExitStack() as stack:

        def opened(state: Path, origin: str | None = None) -> TrailFiles:
            trail = open_trail_files(state, origin=origin)
            stack.callback(trail.close)
            return trail

        yield opened


@pytest.fixture(scope="module")
def original(tmp_path_factory) -> Path:
    """The state of a server with a room of its own and a tenant's."""
    directory = tmp_path_factory.mktemp("original") / "state"
    for number, name in enumerate((".", "tenants/a")):
        room = directory / name
        with contextlib.closing(open_trail_files(room, origin=f"log.example/{number}")) as trail:
            record(trail, *range(1 + number))
        (room / "keys").mkdir()
        (room / "keys" / "1.key").write_bytes(b"enrolled" * number)
        (room / "keys" / ".1.key.0123").write_bytes(b"half a key")
        (room / "sealing" / "s").write_bytes(b"sealing")
    (directory / "server.secret").write_bytes(b"s" * 32)
    return directory


@pytest.fixture
def state(original, tmp_path) -> Path:
    return Path(shutil.copytree(original, tmp_path / "server" / "state"))


@pytest.fixture
def models(tmp_path) -> Path:
    directory = tmp_path / "server" / "models"
    (directory / "digest").mkdir(parents=True)
    (directory / "digest" / "card").write_bytes(b"card")
    return directory


@pytest.fixture(scope="module")
def taken(original, tmp_path_factory) -> Path:
    """A backup of the original with a model."""
    home = tmp_path_factory.mktemp("taken")
    (home / "models" / "digest").mkdir(parents=True)
    (home / "models" / "digest" / "card").write_bytes(b"card")
    back_up(home / "backup", original, home / "models")
    return home / "backup"


def contents(directory: Path, ignored: Callable[[str], bool]) -> dict[str, bytes]:
    return {
        path.relative_to(directory).as_posix(): path.read_bytes()
        for path in directory.rglob("*")
        if path.is_file() and not ignored(path.name)
    }


def is_volatile(name: str) -> bool:
    """Databases are compared as logs, and drafts belong to nobody."""
    return name.startswith((".", "audit.db"))


@pytest.mark.accepts("C-109")
def test_what_is_restored_is_what_was_there(state, models, tmp_path, trails, powered):
    copied = back_up(tmp_path / "backup", state, models)
    assert powered  # it is on the disk
    assert copied.logs == {"state": 1, "state/tenants/a": 2}
    assert copied.elsewhere == ()
    restored = tmp_path / "restored"
    assert restore(tmp_path / "backup", restored / "state", restored / "models") == copied
    for name in ("state", "models"):
        source = state if name == "state" else models
        assert contents(restored / name, is_volatile) == contents(source, is_volatile)
    for name in (".", "tenants/a"):
        old, new = trails(state / name), trails(restored / "state" / name)
        assert new.log.head() == old.log.head()
        assert new.key.public == old.key.public
        assert new.archive.read(ObjectKind.ENROLMENT, bytes(32)) == bytes(1000)


def test_a_tenant_may_be_called_as_directories_are(state, tmp_path):
    names = ("archive", "drafts", "keys", "sealing", "tenants")
    for name in names:
        open_trail_files(state / "tenants" / name, origin=f"log.example/{name}").close()
        (state / "tenants" / name / "archive" / "drafts" / "half").write_bytes(b"half an object")
    copied = back_up(tmp_path / "backup", state)
    assert copied.logs.keys() >= {f"state/tenants/{name}" for name in names}
    assert not list((tmp_path / "backup").rglob("half"))


def test_nobody_else_may_read_a_backup(state, tmp_path):
    before = os.umask(0)
    try:
        back_up(tmp_path / "new" / "backup", state)
        restore(tmp_path / "new" / "backup", tmp_path / "restored")
    finally:
        os.umask(before)
    for directory in (tmp_path / "new", tmp_path / "restored"):
        for path in (directory, *directory.rglob("*")):
            assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600), path


def test_sums_can_be_checked_without_this_program(state, tmp_path):
    back_up(tmp_path / "backup", state)
    checked = subprocess.run(
        ["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"],  # noqa: S607
        cwd=tmp_path / "backup",
        check=False,
    )
    assert checked.returncode == 0


def test_a_log_that_grows_meanwhile_is_copied_as_it_was_at_one_time(
    state, tmp_path, trails, monkeypatch
):
    trail, numbers = trails(state), iter(range(100, 200))
    copy = backups._copy_files

    def growing(source: Path, target: Path) -> None:
        record(trail, next(numbers))
        copy(source, target)
        record(trail, next(numbers))

    monkeypatch.setattr(backups, "_copy_files", growing)
    copied = back_up(tmp_path / "backup", state)
    assert copied.logs["state"] == 1
    restore(tmp_path / "backup", tmp_path / "restored")
    assert trails(tmp_path / "restored").log.head() == trail.log.head_at(1)


def test_what_retention_removes_meanwhile_is_not_missed(state, tmp_path, trails, monkeypatch):
    trail = trails(state)
    record(trail, 50)
    swept: list[bytes] = []
    copy = backups._copy_files

    def sweeping(source: Path, target: Path) -> None:
        if not swept:
            kept = trail.archive.find(ObjectKind.ENROLMENT, bytes([50]) * 32)
            with sqlite3.connect(state / "audit.db") as database:
                database.execute(
                    "UPDATE audit_objects SET removed_ns = 1 WHERE name = ?", (bytes([50]) * 32,)
                )
            trail.archive.store.delete(kept.address)
            swept.append(kept.address)
        copy(source, target)

    monkeypatch.setattr(backups, "_copy_files", sweeping)
    assert back_up(tmp_path / "backup", state).logs["state"] == 2
    assert swept


def test_what_goes_after_it_was_listed_is_not_missed(state, tmp_path, monkeypatch):
    leaving, looked = state / "keys" / "1.key", []
    is_database = backups._is_database

    def looking(path: Path) -> bool:
        found = is_database(path)
        if path == leaving:
            looked.append(path)
            if len(looked) == 2:  # first among the databases, then among the others
                path.unlink()
        return found

    monkeypatch.setattr(backups, "_is_database", looking)
    back_up(tmp_path / "backup", state)
    assert len(looked) == 2
    assert not (tmp_path / "backup/state/keys/1.key").exists()


def test_a_backup_keeps_its_name_when_the_power_fails(state, tmp_path, monkeypatch):
    synced = []
    monkeypatch.setattr(backups, "sync_directory", lambda path: synced.append(list(path.iterdir())))
    back_up(tmp_path / "copies" / "backup", state)
    assert synced == [[tmp_path / "copies" / "backup"]]


def test_what_is_damaged_already_is_no_backup(state, tmp_path):
    (found,) = (state / "archive").glob("??/*")
    found.write_bytes(b"other")
    with pytest.raises(BackupError, match="not whole: 0 objects are missing, 1 damaged"):
        back_up(tmp_path / "backup", state)
    assert not list(tmp_path.glob("*backup*"))


def test_nothing_is_overwritten(state, models, tmp_path):
    back_up(tmp_path / "backup", state, models)
    with pytest.raises(BackupError, match="is there already"):
        back_up(tmp_path / "backup", state)
    with pytest.raises(BackupError, match="state is not empty"):
        restore(tmp_path / "backup", state)
    with pytest.raises(BackupError, match="models is not empty"):
        restore(tmp_path / "backup", tmp_path / "new", models)
    assert not (tmp_path / "new").exists()
    (tmp_path / "file").touch()
    with pytest.raises(BackupError, match="file is not empty"):
        restore(tmp_path / "backup", tmp_path / "file")
    (tmp_path / "empty").mkdir()  # such as a volume that is mounted
    restore(tmp_path / "backup", tmp_path / "empty")


def test_what_is_linked_is_copied(state, models, tmp_path):
    elsewhere = (state / "archive").rename(tmp_path / "volume")
    (state / "archive").symlink_to(elsewhere)
    back_up(tmp_path / "backup", state, models)
    assert not any(path.is_symlink() for path in (tmp_path / "backup").rglob("*"))
    copied = restore(tmp_path / "backup", tmp_path / "new")
    assert copied.elsewhere == ()


@pytest.mark.parametrize(
    ("put", "message"),
    [
        (lambda state: os.mkfifo(state / "pipe"), "pipe is not a file"),
        (lambda state: (state / "two\nlines").touch(), "is no name of a server's file"),
    ],
)
def test_what_is_no_file_of_a_server_is_refused_and_not_waited_for(state, tmp_path, put, message):
    put(state)
    with pytest.raises(BackupError, match=message):
        back_up(tmp_path / "backup", state)
    assert not list(tmp_path.glob("*backup*"))


def test_a_backup_does_not_copy_itself(state, tmp_path):
    with pytest.raises(BackupError, match="would copy itself"):
        back_up(state / "backup", state)
    with pytest.raises(BackupError, match="no state directory"):
        back_up(tmp_path / "backup", tmp_path / "missing")
    back_up(tmp_path / "backup", state)
    with pytest.raises(BackupError, match="holds no models"):
        restore(tmp_path / "backup", tmp_path / "new", tmp_path / "models")


def flip(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def without_a_line(path: Path) -> None:
    path.write_text("".join(path.read_text().splitlines(keepends=True)[1:]))


@pytest.mark.rejects("C-109")
def test_sums_name_files_of_a_backup_and_nothing_else(taken, tmp_path):
    shutil.copytree(taken, tmp_path / "backup")
    whole = (tmp_path / "backup/SHA256SUMS").read_text()
    (tmp_path / "backup/stray").write_bytes(b"")
    empty = hashlib.sha256().hexdigest()
    for path in (".", "/", "/etc/passwd", "state", "state/..", "stray"):
        (tmp_path / "backup/SHA256SUMS").write_text(f"{whole}{empty}  {path}\n")
        with pytest.raises(BackupError, match="SHA256SUMS is damaged"):
            restore(tmp_path / "backup", tmp_path / "new")
    (tmp_path / "backup/stray").unlink()
    # Another way to write a path of a file that is there, which would lead out of the directory.
    (tmp_path / "backup/SHA256SUMS").write_text(whole.replace("  state/", f"  state/{tmp_path}/"))
    with pytest.raises(BackupError, match=r"missing|not among"):
        restore(tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new").exists()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda home: flip(home / "state/server.secret"), r"state/server\.secret is damaged"),
        (lambda home: flip(home / "state/audit.db"), r"state/audit\.db is damaged"),
        (lambda home: flip(home / "models/digest/card"), r"models/digest/card is damaged"),
        (lambda home: (home / "state/audit.key").unlink(), r"state/audit\.key is missing"),
        (lambda home: (home / "state/more").touch(), r"state/more is not among SHA256SUMS"),
        (lambda home: without_a_line(home / "SHA256SUMS"), r"is not among SHA256SUMS"),
        (lambda home: (home / "SHA256SUMS").unlink(), r"is no backup"),
        (lambda home: (home / "SHA256SUMS").write_bytes(b"\xff"), r"SHA256SUMS is damaged"),
        (
            lambda home: (home / "SHA256SUMS").write_text(f"{'0' * 64}  ../outside\n"),
            r"SHA256SUMS is damaged",
        ),
        (
            lambda home: (home / "SHA256SUMS").write_text(f"{'0' * 64}  state/../../outside\n"),
            r"SHA256SUMS is damaged",
        ),
    ],
)
def test_a_damaged_backup_restores_nothing(taken, tmp_path, damage, message):
    shutil.copytree(taken, tmp_path / "backup")
    damage(tmp_path / "backup")
    with pytest.raises(BackupError, match=message):
        restore(tmp_path / "backup", tmp_path / "new")
    assert not (tmp_path / "new").exists() or not any((tmp_path / "new").iterdir())


def sums_again(home: Path) -> None:
    """What an attacker writes who can alter a backup."""
    paths = sorted(p for p in home.rglob("*") if p.is_file() and p.name != "SHA256SUMS")
    lines = (f"{backups._digest(path)}  {path.relative_to(home)}\n" for path in paths)
    (home / "SHA256SUMS").write_text("".join(lines))


@pytest.mark.rejects("C-109")
def test_a_log_is_what_its_checkpoint_says(state, tmp_path, trails):
    trail = trails(state)
    back_up(tmp_path / "old", state)
    record(trail, 100)
    back_up(tmp_path / "backup", state)
    kept = checkpoint(trail)
    restore(tmp_path / "backup", tmp_path / "one", None, [kept])
    # An older log in the place of the one that the backup says there was.
    shutil.copy(tmp_path / "old/state/audit.db", tmp_path / "backup/state/audit.db")
    sums_again(tmp_path / "backup")
    with pytest.raises(BackupError, match=r"state: the log has 1 entries and had 2"):
        restore(tmp_path / "backup", tmp_path / "two")
    # A backup that is whole and older than what others have seen.
    with pytest.raises(BackupError, match=r"state: the log has 1 entries and had 2"):
        restore(tmp_path / "old", tmp_path / "two", None, [kept])
    assert not any((tmp_path / "two").iterdir())


def test_checkpoints_of_other_logs_are_not_passed_over(state, tmp_path, trails):
    back_up(tmp_path / "backup", state)
    stranger = trails(tmp_path / "stranger", "log.example/stranger")
    with pytest.raises(BackupError, match="of no log of this backup"):
        restore(tmp_path / "backup", tmp_path / "new", None, [checkpoint(stranger)])
    (tmp_path / "backup/state/tenants/a/audit.db").unlink()
    sums_again(tmp_path / "backup")
    with pytest.raises(BackupError, match="state/tenants/a: its log is missing"):
        restore(tmp_path / "backup", tmp_path / "new")


def test_what_is_elsewhere_is_said(state, tmp_path):
    (state / "tenants/a/audit.db").unlink()
    shutil.rmtree(state / "archive")
    copied = back_up(tmp_path / "backup", state)
    assert copied.elsewhere == ("state", "state/tenants/a")


def test_the_commands_say_what_they_copied(state, models, tmp_path, trails):
    def run(*arguments: object):
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    (tmp_path / "kept").write_bytes(checkpoint(trails(state)))
    places = ("--state", state, "--models", models)
    taken = run("backup", tmp_path / "backup", *places)
    assert taken.exit_code == 0, taken.output
    assert "log of state/tenants/a: 2 entries" in taken.stdout
    new = ("--state", tmp_path / "new", "--models", tmp_path / "new models")
    made = run("restore", tmp_path / "backup", *new, "--checkpoint", tmp_path / "kept")
    assert made.exit_code == 0, made.output
    assert made.stdout == taken.stdout
    again = run("restore", tmp_path / "backup", *new)
    assert again.exit_code == 2
    assert "not empty" in again.stderr
