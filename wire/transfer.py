"""How far a stream of messages has come, so that a broken transfer goes on where it ended.

A position is a number of messages and the SHA-256 of them all, each after its length (8 bytes,
little-endian).  Two sides that agree on a position have the same messages up to there.  In metadata
it is written `<number>:<digest in hexadecimal>`.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

from wire.archived import MAX_MESSAGES

_LENGTH_BYTES = 8
_TEXT = re.compile(r"(?P<messages>[1-9][0-9]{0,5}):(?P<digest>[0-9a-f]{64})")


@dataclass(frozen=True)
class Position:
    """Where somebody is in a stream.

    Attributes:
        messages: how many there are; at least one.
        digest: of them all.
    """

    messages: int
    digest: bytes

    @classmethod
    def parsed(cls, text: object) -> Self | None:
        """From metadata; None of anything else: whoever is not understood begins anew."""
        match = _TEXT.fullmatch(text) if isinstance(text, str) else None
        if match is None or int(match["messages"]) > MAX_MESSAGES:
            return None
        return cls(int(match["messages"]), bytes.fromhex(match["digest"]))

    @classmethod
    def after(cls, messages: Iterable[bytes]) -> Self | None:
        """The position after some messages; None after none."""
        running = RunningDigest()
        for message in messages:
            running.add(message)
        return None if running.messages == 0 else cls(running.messages, running.digest)

    def __str__(self) -> str:
        return f"{self.messages}:{self.digest.hex()}"


class RunningDigest:
    """The digest of the messages so far."""

    def __init__(self) -> None:
        self._hash = hashlib.sha256()
        self.messages = 0

    def add(self, message: bytes) -> None:
        """Take the next message."""
        self._hash.update(len(message).to_bytes(_LENGTH_BYTES, "little"))
        self._hash.update(message)
        self.messages += 1

    @property
    def digest(self) -> bytes:
        """Of all messages so far."""
        return self._hash.digest()

    @property
    def position(self) -> Position | None:
        """Where the stream is; None before its first message."""
        return Position(self.messages, self.digest) if self.messages else None
