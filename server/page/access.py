"""Who may read the page: a token from a private file, and sessions of browsers that showed it.

The token is given in the body of a form or in an `Authorization` header, and never stands in an
address.  A browser gets a session of its own instead, which ends by itself and with the process.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import hmac
import os
import re
import secrets
import stat
import time
from collections import OrderedDict, deque
from collections.abc import Callable
from pathlib import Path

from protocol.errors import EncodingError
from server.storage import reading
from wire.files import read_regular, write_private

TOKEN_BYTES = 32
MAX_TOKEN_CHARACTERS = 256
SESSION_SECONDS = 3600.0
MAX_SESSIONS = 256
MAX_FAILURES = 5
FAILURE_SECONDS = 60.0
MAX_PEERS = 1024

_TOKEN = re.compile(r"[A-Za-z0-9_-]{43,}")
_OTHERS = stat.S_IRWXG | stat.S_IRWXO


class TooManyFailuresError(Exception):
    """A peer has shown wrong tokens too often: what it shows is not looked at for a while."""


def read_or_create_token(path: Path) -> str:
    """The token kept in a file, drawn from the operating system the first time.

    Raises:
        StorageError: others than its owner may use the file, or it holds no token as long as
            one that is made here.
    """
    with reading(path):
        if not path.exists():
            _create(path)
        if stat.S_IMODE(path.stat().st_mode) & _OTHERS:
            raise PermissionError(
                errno.EACCES, "others may read or write this token: chmod 600", str(path)
            )
        token = read_regular(path, MAX_TOKEN_CHARACTERS).decode("ascii", "replace").strip()
        if _TOKEN.fullmatch(token) is None:
            raise EncodingError("a token has at least 43 letters, digits, - or _")
    return token


def _create(path: Path) -> None:
    """Link a new token into place: of two processes that start together, both read one's."""
    draft = path.with_name(f".{path.name}.{secrets.token_hex(8)}")
    write_private(draft, f"{secrets.token_urlsafe(TOKEN_BYTES)}\n".encode())
    with contextlib.suppress(FileExistsError):
        os.link(draft, path)
    draft.unlink()


class Access:
    """Decides about tokens and sessions.  Used from one event loop.

    Args:
        token: what opens the page.
        clock: seconds that only grow.
    """

    def __init__(self, token: str, clock: Callable[[], float] = time.monotonic) -> None:
        self._token = token.encode()
        self._clock = clock
        self._sessions: OrderedDict[bytes, float] = OrderedDict()
        self._failures: OrderedDict[str, deque[float]] = OrderedDict()

    def has_token(self, peer: str, presented: str) -> bool:
        """Whether somebody presents the token.

        Args:
            peer: the network address that presents it, which failures are counted for.
            presented: as it came, of any form.

        Raises:
            TooManyFailuresError: the peer has failed too often just now.
        """
        if self._recent_failures(peer) >= MAX_FAILURES:
            raise TooManyFailuresError
        if hmac.compare_digest(presented.encode("utf-8", "replace"), self._token):
            self._failures.pop(peer, None)
            return True
        self._remember_failure(peer)
        return False

    def open_session(self) -> str:
        """A new session, for somebody who has the token; the oldest gives way if there are many."""
        session = secrets.token_urlsafe(TOKEN_BYTES)
        if len(self._sessions) >= MAX_SESSIONS:
            self._sessions.popitem(last=False)
        self._sessions[_named(session)] = self._clock() + SESSION_SECONDS
        return session

    def has_session(self, session: str) -> bool:
        """Whether a session is open and has not expired."""
        name = _named(session)
        expiry = self._sessions.get(name)
        if expiry is None:
            return False
        if self._clock() >= expiry:
            del self._sessions[name]
            return False
        return True

    def close_session(self, session: str) -> None:
        """End a session, if there is one."""
        self._sessions.pop(_named(session), None)

    def _recent_failures(self, peer: str) -> int:
        failures = self._failures.get(peer)
        if failures is None:
            return 0
        while failures and failures[0] <= self._clock() - FAILURE_SECONDS:
            failures.popleft()
        return len(failures)

    def _remember_failure(self, peer: str) -> None:
        failures = self._failures.setdefault(peer, deque(maxlen=MAX_FAILURES))
        failures.append(self._clock())
        self._failures.move_to_end(peer)
        if len(self._failures) > MAX_PEERS:
            self._failures.popitem(last=False)


def _named(session: str) -> bytes:
    """What a session is kept under: looking up a hash says nothing of what is kept."""
    return hashlib.sha256(session.encode("utf-8", "replace")).digest()
