"""What every store promises, over files and over S3; and what files are for themselves."""

from __future__ import annotations

import fcntl
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from contextlib import contextmanager
from hashlib import sha256
from pathlib import Path

import pytest

from audit.errors import ArchiveUnavailableError, ObjectDamagedError, ObjectMissingError
from audit.object_store import FileStore, address_batches, address_of, open_store
from tests.unit.audit.s3_server import running_s3, store_url

NOBODY = 65534
SIZES = (0, 1, 1000, 1 << 20)


@pytest.fixture(scope="module")
def s3_endpoint():
    with running_s3() as endpoint:
        yield endpoint


@pytest.fixture(params=["files", "s3"])
def store(request, tmp_path):
    if request.param == "files":
        return open_store(str(tmp_path / "archive"))
    endpoint = request.getfixturevalue("s3_endpoint")
    return open_store(store_url(endpoint, tmp_path.name))


@pytest.fixture
def files(tmp_path):
    return FileStore(tmp_path / "archive")


def objects(count):
    return [sha256(bytes([number])).digest() * (number + 1) for number in range(count)]


def path_of(tmp_path, address):
    (found,) = (tmp_path / "archive").glob(f"*/{address.hex()}")
    return found


def test_what_was_put_is_there_under_its_hash(store):
    for size in SIZES:
        data = bytes(size)
        address = store.put(data)
        assert address == sha256(data).digest() == address_of(data)
        assert store.get(address) == data
        assert store.put(data) == address
    assert set(store.addresses()) == {address_of(bytes(size)) for size in SIZES}
    assert [len(batch) for batch in address_batches(store, 3)] == [3, 1]


def test_a_missing_object_is_said_to_be_missing(store):
    address = store.put(b"one")
    with pytest.raises(ObjectMissingError):
        store.get(address_of(b"other"))
    store.delete(address)
    store.delete(address)
    store.delete(address_of(b"other"))
    with pytest.raises(ObjectMissingError):
        store.get(address)
    assert list(store.addresses()) == []


def test_what_was_put_after_a_time_is_not_removed(store):
    address = store.put(b"one")
    assert not store.delete_older(address, time.time_ns() - 3600 * 10**9)
    assert store.get(address) == b"one"
    assert store.delete_older(address, time.time_ns() + 10 * 10**9)
    assert store.delete_older(address, 0)  # there is none any more
    assert store.delete_older(address_of(b"other"), 0)
    assert list(store.addresses()) == []


def test_what_is_put_again_is_as_good_as_new(files, tmp_path):
    address = files.put(b"one")
    os.utime(path_of(tmp_path, address), (1, 1))
    files.put(b"one")
    assert not files.delete_older(address, time.time_ns() - 3600 * 10**9)
    os.utime(path_of(tmp_path, address), (1, 1))
    assert files.delete_older(address, time.time_ns() - 3600 * 10**9)


@pytest.mark.parametrize("bit", [0, 77])
def test_a_flipped_bit_is_found_and_put_right_by_the_next_put(files, tmp_path, bit):
    data = bytes(range(32))
    address = files.put(data)
    path = path_of(tmp_path, address)
    damaged = bytearray(data)
    damaged[bit // 8] ^= 1 << bit % 8
    path.write_bytes(damaged)
    with pytest.raises(ObjectDamagedError):
        files.get(address)
    path.write_bytes(data[:-1])
    with pytest.raises(ObjectDamagedError):
        files.get(address)
    files.put(data)
    assert files.get(address) == data


def test_files_are_for_their_owner_only(files, tmp_path):
    files.put(b"one")
    for path in (tmp_path / "archive").rglob("*"):
        assert stat.S_IMODE(path.stat().st_mode) == (0o700 if path.is_dir() else 0o600)
    assert stat.S_IMODE((tmp_path / "archive").stat().st_mode) == 0o700


def test_names_and_bytes_reach_the_disk_before_put_returns(tmp_path, monkeypatch):
    """In this order: the bytes, the name; and the name of a new directory before anything in it."""
    files = FileStore(tmp_path / "archive")
    synced = []
    sync, replace = os.fsync, Path.replace

    def fsync(descriptor):
        synced.append(Path(f"/proc/self/fd/{descriptor}").readlink().name)
        sync(descriptor)

    def renamed(path, target):
        synced.append("renamed")
        return replace(path, target)

    monkeypatch.setattr(os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", renamed)
    name = files.put(b"one").hex()
    assert synced[0] == "archive"
    assert synced[1].startswith(".draft-")
    assert synced[2:] == ["renamed", name[:2]]
    synced.clear()
    files.put(b"one")  # who wrote it may have been killed before the name was durable
    assert synced == [name[:2]]


def test_what_else_lies_there_is_not_an_object(files, tmp_path):
    address = files.put(b"one")
    directory = path_of(tmp_path, address).parent
    (directory / "README").write_text("")
    (directory / ("0" * 64 if directory.name != "00" else "1" * 64)).write_text("")
    (tmp_path / "archive" / "lost+found").mkdir()
    assert list(files.addresses()) == [address]


def test_drafts_of_the_dead_are_discarded_once_they_are_old(files, tmp_path):
    draft = tmp_path / "archive" / "drafts" / ".draft-0"
    draft.write_bytes(b"half an obj")
    assert files.discard_drafts(time.time_ns() - 10**9) == 0
    assert draft.exists()
    assert files.discard_drafts(time.time_ns() + 10**9) == 1
    assert not draft.exists()


@contextmanager
def full_disk(directory):
    """A file system of 64 KiB, where whoever runs the tests may mount one."""
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", directory],  # noqa: S607
        check=False,
        capture_output=True,
    )
    if mounted.returncode:
        pytest.skip("no file system may be mounted here")
    try:
        yield
    finally:
        subprocess.run(["umount", directory], check=True)  # noqa: S607


@contextmanager
def limited_files(_directory):
    """No file may grow beyond 64 KiB."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize("disk", [full_disk, limited_files])
def test_a_full_disk_is_a_typed_error_and_nothing_half_written(tmp_path, disk):
    directory = tmp_path / "disk"
    directory.mkdir()
    with disk(directory):
        files = FileStore(directory / "archive")
        small = files.put(b"one")
        with pytest.raises(ArchiveUnavailableError):
            files.put(bytes(1 << 20))
        assert list(files.addresses()) == [small]
        assert list((directory / "archive" / "drafts").iterdir()) == []
        assert files.get(small) == b"one"
        files.put(b"two")  # as soon as there is room, without repair


@pytest.fixture
def foreign_directory():
    """A directory that may be entered, but written by its owner only: whoever is not root."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    root = os.geteuid() == 0
    (directory / "archive").mkdir()
    if root:
        os.chown(directory / "archive", NOBODY, NOBODY)
        os.seteuid(NOBODY)
    yield directory / "archive"
    if root:
        os.seteuid(0)
    shutil.rmtree(directory)


def test_a_directory_that_cannot_be_written_is_a_typed_error(foreign_directory):
    files = FileStore(foreign_directory)
    address = files.put(b"one")
    places = (foreign_directory, *(path for path in foreign_directory.iterdir()))
    for place in places:
        place.chmod(0o500)
    for attempt in (
        lambda: files.put(b"two"),
        lambda: files.delete(address),
        lambda: FileStore(foreign_directory / "deeper"),
    ):
        with pytest.raises(ArchiveUnavailableError):
            attempt()
    assert files.get(address) == b"one"
    for place in reversed(places):
        place.chmod(0o000)
    for attempt in (lambda: files.get(address), lambda: list(files.addresses())):
        with pytest.raises(ArchiveUnavailableError):
            attempt()
    for place in places:
        place.chmod(0o700)
    assert files.get(files.put(b"two")) == b"two"


def test_a_directory_that_is_gone_says_nothing_of_its_objects(files, tmp_path):
    address = files.put(b"one")
    (tmp_path / "archive").rename(tmp_path / "away")
    for attempt in (
        lambda: files.get(address),
        lambda: files.put(b"two"),
        lambda: files.delete_older(address, 0),
        lambda: list(files.addresses()),
    ):
        with pytest.raises(ArchiveUnavailableError):
            attempt()
    assert not (tmp_path / "archive").exists()
    (tmp_path / "away").rename(tmp_path / "archive")
    assert files.get(address) == b"one"


PUTTING = """
import os, sys
from pathlib import Path
from audit.object_store import FileStore
files = FileStore(Path(sys.argv[1]))
os.write(1, b"ready\\n")
number = 0
while True:
    files.put(b"%d" % number * 20000)
    number += 1
    os.write(1, b"%d\\n" % number)
"""


def test_a_writer_that_is_killed_leaves_whole_objects_only(tmp_path, repository_root):
    for delay in (0.01, 0.05, 0.1, 0.15, 0.2):
        place = tmp_path / f"{delay}"
        process = subprocess.Popen(
            [sys.executable, "-c", PUTTING, place], cwd=repository_root, stdout=subprocess.PIPE
        )
        assert process.stdout.readline() == b"ready\n"
        timer = threading.Timer(delay, process.send_signal, (signal.SIGKILL,))
        timer.start()
        acknowledged = len(process.stdout.read().splitlines())
        process.wait()
        process.stdout.close()
        files = FileStore(place)
        kept = list(files.addresses())
        assert len(kept) in {acknowledged, acknowledged + 1}
        for number in range(acknowledged):
            data = b"%d" % number * 20000
            assert files.get(address_of(data)) == data
        for address in kept:
            files.get(address)


def test_many_who_put_and_remove_one_object_lose_none(files):
    """A put that returned is there until something older than it is asked to go."""
    failures = []

    def put():
        try:
            for _ in range(200):
                before = time.time_ns()
                files.get(files.put(b"one"))
                assert time.time_ns() - before < 3600 * 10**9
        except BaseException as error:  # noqa: BLE001 - reported below
            failures.append(error)

    def remove():
        for _ in range(200):
            files.delete_older(address_of(b"one"), time.time_ns() - 3600 * 10**9)

    threads = [threading.Thread(target=work) for work in (put, put, remove)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []


@pytest.mark.parametrize(
    ("held", "work"),
    [
        (fcntl.LOCK_SH, lambda files, address: files.delete_older(address, time.time_ns())),
        (fcntl.LOCK_EX, lambda files, _: files.put(b"one")),
    ],
    ids=["who removes waits for who renews", "who renews waits for who removes"],
)
def test_nobody_removes_what_is_being_renewed(files, tmp_path, held, work):
    address = files.put(b"one")
    descriptor = os.open(path_of(tmp_path, address).parent, os.O_RDONLY)
    fcntl.flock(descriptor, held)
    thread = threading.Thread(target=work, args=(files, address))
    thread.start()
    thread.join(0.2)
    assert thread.is_alive()
    os.close(descriptor)
    thread.join(30)
    assert not thread.is_alive()


def test_stores_are_opened_by_path_and_by_url(tmp_path):
    address = open_store(str(tmp_path / "with space")).put(b"one")
    assert open_store(f"file://{tmp_path}/with%20space").get(address) == b"one"
    for url in ("", "http://host/archive", "file://host/archive", "ftp://host/archive", "file://"):
        with pytest.raises(ArchiveUnavailableError):
            open_store(url)
