from __future__ import annotations

import re
import stat

import pytest

from server.page.access import (
    FAILURE_SECONDS,
    MAX_FAILURES,
    MAX_PEERS,
    MAX_SESSIONS,
    SESSION_SECONDS,
    Access,
    TooManyFailuresError,
    read_or_create_token,
)
from server.storage import StorageError

TOKEN = "t" * 43


class Clock:
    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def access(clock):
    return Access(TOKEN, clock)


def test_a_token_is_made_once_for_its_owner_only(tmp_path):
    path = tmp_path / "token"
    token = read_or_create_token(path)
    assert re.fullmatch(r"[A-Za-z0-9_-]{43}", token)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert read_or_create_token(path) == token
    assert [file.name for file in tmp_path.iterdir()] == ["token"]
    assert read_or_create_token(tmp_path / "another") != token


def test_an_operator_may_choose_a_token(tmp_path):
    path = tmp_path / "token"
    path.write_text("chosen_" * 8 + "\n")
    path.chmod(0o600)
    assert read_or_create_token(path) == "chosen_" * 8


@pytest.mark.parametrize("content", [b"", b"short\n", b"x" * 42, b"x" * 50 + b" y", b"\xff" * 50])
def test_a_file_without_a_long_token_is_refused(tmp_path, content):
    path = tmp_path / "token"
    path.write_bytes(content)
    path.chmod(0o600)
    with pytest.raises(StorageError):
        read_or_create_token(path)
    assert path.read_bytes() == content


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_a_token_that_others_may_use_is_refused(tmp_path, mode):
    path = tmp_path / "token"
    read_or_create_token(path)
    path.chmod(mode)
    with pytest.raises(StorageError, match="others may read or write"):
        read_or_create_token(path)


@pytest.mark.parametrize("wrong", ["", "t" * 42, "t" * 44, "T" * 43, "é" * 43, "\udcff"])
def test_only_the_token_is_the_token(access, wrong):
    assert not access.has_token("peer", wrong)
    assert access.has_token("peer", TOKEN)


def test_a_peer_that_fails_often_has_to_wait_and_no_other_has(access, clock):
    for _ in range(MAX_FAILURES):
        assert not access.has_token("guesser", "wrong")
    with pytest.raises(TooManyFailuresError):
        access.has_token("guesser", TOKEN)
    assert access.has_token("another", TOKEN)
    clock.now += FAILURE_SECONDS
    assert access.has_token("guesser", TOKEN)


def test_whoever_shows_the_token_has_no_failures_left(access):
    for _ in range(3):
        for _ in range(MAX_FAILURES - 1):
            assert not access.has_token("peer", "wrong")
        assert access.has_token("peer", TOKEN)


def test_failures_of_many_peers_take_bounded_memory(access):
    for number in range(MAX_PEERS + 10):
        access.has_token(f"peer {number}", "wrong")
    assert len(access._failures) == MAX_PEERS


def test_sessions_end_by_themselves_and_by_request(access, clock):
    first, second = access.open_session(), access.open_session()
    assert first != second
    assert access.has_session(first)
    assert access.has_session(second)
    access.close_session(first)
    access.close_session("unknown")
    assert not access.has_session(first)
    clock.now += SESSION_SECONDS - 1
    assert access.has_session(second)
    clock.now += 1
    assert not access.has_session(second)


def test_of_many_sessions_the_oldest_gives_way(access):
    sessions = [access.open_session() for _ in range(MAX_SESSIONS + 1)]
    assert not access.has_session(sessions[0])
    assert all(access.has_session(session) for session in sessions[1:])


def test_neither_the_token_nor_what_was_never_opened_is_a_session(access):
    access.open_session()
    assert not access.has_session(TOKEN)
    assert not access.has_session("")
    assert not access.has_session("\udcff")
