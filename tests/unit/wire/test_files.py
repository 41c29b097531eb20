from __future__ import annotations

import os
import stat
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from protocol.errors import EncodingError
from wire.files import (
    make_private_directory,
    read_bounded,
    read_or_create_secret,
    read_regular,
    write_private,
)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def test_files_and_directories_are_private(tmp_path):
    directory = make_private_directory(tmp_path / "a" / "b")
    write_private(directory / "file", b"content")
    assert mode(directory) == 0o700
    assert mode(directory / "file") == 0o600


def test_writing_again_replaces_everything(tmp_path):
    write_private(tmp_path / "file", b"a long content")
    write_private(tmp_path / "file", b"short")
    assert (tmp_path / "file").read_bytes() == b"short"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path, monkeypatch):
    write_private(tmp_path / "file", b"old")

    def fail(self, target):
        raise OSError("no space")

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(OSError, match="no space"):
        write_private(tmp_path / "file", b"new")
    assert (tmp_path / "file").read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [tmp_path / "file"]


def test_reading_is_bounded(tmp_path):
    write_private(tmp_path / "file", bytes(100))
    assert read_bounded(tmp_path / "file", 100) == bytes(100)
    with pytest.raises(EncodingError, match="more than 99"):
        read_bounded(tmp_path / "file", 99)


def test_a_secret_is_drawn_once_even_by_many_at_the_same_time(tmp_path):
    with ThreadPoolExecutor(8) as pool:
        drawn = set(pool.map(lambda _: read_or_create_secret(tmp_path / "secret", 32), range(32)))
    assert len(drawn) == 1
    assert len(drawn.pop()) == 32
    assert mode(tmp_path / "secret") == 0o600
    assert list(tmp_path.iterdir()) == [tmp_path / "secret"]


def test_a_secret_of_another_size_is_refused(tmp_path):
    write_private(tmp_path / "secret", bytes(31))
    with pytest.raises(EncodingError, match="31 bytes"):
        read_or_create_secret(tmp_path / "secret", 32)


@pytest.mark.parametrize("permissions", [0o640, 0o604, 0o620, 0o601])
def test_a_secret_that_others_may_use_is_refused(tmp_path, permissions: int):
    path = tmp_path / "secret"
    secret = read_or_create_secret(path, 32)
    path.chmod(permissions)
    with pytest.raises(PermissionError, match="chmod 600") as caught:
        read_or_create_secret(path, 32)
    assert caught.value.filename == str(path)
    path.chmod(0o600)
    assert read_or_create_secret(path, 32) == secret


def test_only_regular_files_pass_for_models_and_nothing_waits_for_a_pipe(tmp_path):
    write_private(tmp_path / "file", bytes(100))
    assert read_regular(tmp_path / "file", 100) == bytes(100)
    with pytest.raises(EncodingError, match="more than 99"):
        read_regular(tmp_path / "file", 99)
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to(tmp_path / "pipe")
    (tmp_path / "device").symlink_to("/dev/zero")
    for name in ("pipe", "link", "device"):
        with pytest.raises(OSError, match="not a regular file"):
            read_regular(tmp_path / name, 100)
    with pytest.raises(IsADirectoryError):
        read_regular(tmp_path, 100)
