"""Enrolment sessions in memory and enrolled public keys on disk."""

from __future__ import annotations

import secrets
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from protocol.digests import DIGEST_BYTES
from protocol.errors import EncodingError
from protocol.keys import ENROLMENT_NONCE_BYTES, EnrolledKey, KeyRequest
from server.refusals import Refusal
from server.storage import reading
from wire.enrolment import SESSION_BYTES, EnrolmentChallenge
from wire.files import make_private_directory, read_bounded, write_private
from wire.rpc import Reason
from wire.stored_key import MAX_KEY_BYTES, decode_key, encode_key

CACHED_BYTES = 256 << 20
"""Of enrolled words kept in memory; their uniform halves take as much again."""


@dataclass(frozen=True)
class EnrolmentSession:
    """What a client committed to, and the nonce it was given."""

    request: KeyRequest
    root: bytes
    nonce: bytes
    expires: float


class EnrolmentSessions:
    """Open enrolments: bounded in number and time, each usable once."""

    def __init__(
        self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._open: OrderedDict[bytes, EnrolmentSession] = OrderedDict()  # oldest first

    def begin(self, request: KeyRequest, root: bytes) -> EnrolmentChallenge:
        """Open a session, in the place of the oldest when all are taken.

        Opening costs a peer nothing: were it refused instead, whoever opens many would keep
        everybody else out until they expire.
        """
        self._expire()
        while len(self._open) >= self._limit:
            self._open.popitem(last=False)
        challenge = EnrolmentChallenge(
            secrets.token_bytes(SESSION_BYTES), secrets.token_bytes(ENROLMENT_NONCE_BYTES)
        )
        self._open[challenge.session_id] = EnrolmentSession(
            request, root, challenge.nonce, self._clock() + self._seconds
        )
        return challenge

    def claim(self, session_id: bytes) -> EnrolmentSession:
        """Take a session out, for good.

        Raises:
            Refusal: unknown, used, expired or displaced (enrolment-unknown).
        """
        self._expire()
        session = self._open.pop(session_id, None)
        if session is None:
            raise Refusal(
                Reason.ENROLMENT_UNKNOWN,
                "the enrolment session is unknown, used or expired: begin again",
            )
        return session

    def _expire(self) -> None:
        now = self._clock()
        while self._open and next(iter(self._open.values())).expires <= now:
            self._open.popitem(last=False)


class EnrolledKeyStore:
    """Keys whose enrolment was verified, by digest; the latest used stay in memory."""

    def __init__(self, directory: Path, limit: int, limit_bytes: int) -> None:
        """Open a directory of keys, or make it.

        Args:
            directory: where they are.
            limit: number of enrolments kept.
            limit_bytes: their size.
        """
        self._directory = make_private_directory(directory)
        self._limit = limit
        self._limit_bytes = limit_bytes
        self._cached: OrderedDict[bytes, EnrolledKey] = OrderedDict()
        self._lock = threading.Lock()
        self._adding = threading.Lock()

    def add(self, key: EnrolledKey, before: Callable[[], None] | None = None) -> bytes:
        """Keep a verified key and return its digest.

        A known key is written again, which repairs a damaged file.

        Args:
            key: verified.
            before: called once there is a place for the key and before it can be used; if it fails,
                the key is not kept.

        Raises:
            Refusal: the store is full (keys-full).
        """
        with self._adding:
            path = self._path(key.digest)
            stored = [file.stat().st_size for file in self._directory.glob("*.key")]
            encoded = encode_key(key)
            full = len(stored) >= self._limit or sum(stored) + len(encoded) > self._limit_bytes
            if full and not path.exists():
                raise Refusal(Reason.KEYS_FULL, f"{len(stored)} keys are enrolled: store full")
            if before is not None:
                before()
            write_private(path, encoded)
        with self._lock:
            self._remember(key)
        return key.digest

    def get(self, digest: bytes) -> EnrolledKey:
        """The key of a digest.

        Raises:
            Refusal: not enrolled here (key-unknown).
            StorageError: what is on disk is not that key.
        """
        with self._lock:
            key = self._cached.get(digest)
            if key is None:
                path = self._path(digest)
                if len(digest) != DIGEST_BYTES or not path.is_file():
                    raise Refusal(
                        Reason.KEY_UNKNOWN, "this key is not enrolled at this server: enrol first"
                    )
                with reading(path):
                    key = decode_key(read_bounded(path, MAX_KEY_BYTES))
                    if key.digest != digest:
                        raise EncodingError("the file holds another key")
            self._remember(key)
            return key

    def _remember(self, key: EnrolledKey) -> None:
        self._cached[key.digest] = key
        self._cached.move_to_end(key.digest)
        while len(self._cached) > 1 and self._cached_bytes > CACHED_BYTES:
            self._cached.popitem(last=False)

    @property
    def _cached_bytes(self) -> int:
        return sum(key.b.nbytes for key in self._cached.values())

    def _path(self, digest: bytes) -> Path:
        return self._directory / f"{digest.hex()}.key"
