"""Uploads whose connection broke, kept for a while so that their clients need not begin again.

The messages that had come are parked under whose they are and the digest of the header that
announced them, which has a nonce of 32 random bytes: nobody else can name it.  What is parked is
bounded in bytes and in time.  When there is too much, the tenant that has parked most loses what it
parked first.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections import Counter, OrderedDict
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Self

from protocol.errors import EncodingError
from server.identity import Principal
from server.refusals import Refusal
from wire.rpc import Reason

_PASSING = frozenset({Reason.TOO_SLOW, Reason.WORKER_LOST})
_MESSAGE_BYTES = 128
"""What a message takes beside its own bytes."""


@dataclass(frozen=True)
class UploadName:
    """Which upload: of whom, and after which header.

    Attributes:
        tenant: whose it is.
        client_id: the identity that was shown; None if none is.
        header: SHA-256 of the header message.
    """

    tenant: str
    client_id: str | None
    header: bytes

    @classmethod
    def of(cls, principal: Principal, header: bytes) -> Self:
        """Of a principal's header message, as it came."""
        return cls(principal.tenant, principal.client_id, hashlib.sha256(header).digest())


@dataclass(eq=False)
class Upload:
    """What comes after a header.

    Attributes:
        messages: that have come; those that were parked, to begin with.
        broke_off: the stream has ended, and before its last message.  Of a peer that has gone, the
            transport may say this first.
    """

    messages: list[bytes]
    broke_off: bool = False


@dataclass(frozen=True)
class _Parked:
    messages: tuple[bytes, ...]
    size: int
    expiry: asyncio.TimerHandle


class ParkedUploads:
    """What has come of broken uploads.  For one event loop."""

    def __init__(self, max_bytes: int, seconds: float) -> None:
        """Park nothing yet.

        Args:
            max_bytes: of all messages together; 0 to park none.
            seconds: how long each is kept.
        """
        self._max_bytes = max_bytes
        self._seconds = seconds
        self._parked: OrderedDict[UploadName, _Parked] = OrderedDict()
        self._sizes: Counter[str] = Counter()

    def __len__(self) -> int:
        """How many are parked."""
        return len(self._parked)

    @property
    def held_bytes(self) -> int:
        """Of all messages that are parked."""
        return self._sizes.total()

    def park(self, name: UploadName, messages: Sequence[bytes]) -> None:
        """Keep the messages that followed a header; in place of what was parked under its name."""
        self.take(name)
        size = sum(_MESSAGE_BYTES + len(message) for message in messages)
        if not messages or size > self._max_bytes:
            return
        while self.held_bytes + size > self._max_bytes:
            self._displace()
        loop = asyncio.get_running_loop()
        expiry = loop.call_later(self._seconds, self.take, name)
        self._parked[name] = _Parked(tuple(messages), size, expiry)
        self._sizes[name.tenant] += size

    def take(self, name: UploadName) -> tuple[bytes, ...]:
        """The messages that followed a header, no longer parked; none if there are none."""
        parked = self._parked.pop(name, None)
        if parked is None:
            return ()
        parked.expiry.cancel()
        self._sizes[name.tenant] -= parked.size
        return parked.messages

    @asynccontextmanager
    async def surviving(self, name: UploadName) -> AsyncIterator[Upload]:
        """An upload which is parked if its call ends for a reason that is not in its messages.

        The peer has gone or paused, the server stops, a worker was lost: the same request may come
        again.  What was refused for what it says would be refused again.
        """
        upload = Upload(list(self.take(name)))
        try:
            yield upload
        except asyncio.CancelledError:
            self.park(name, upload.messages)
            raise
        except Refusal as refusal:
            if refusal.reason in _PASSING:
                self.park(name, upload.messages)
            raise
        except EncodingError:
            if upload.broke_off:
                self.park(name, upload.messages)
            raise

    def _displace(self) -> None:
        tenant, _ = self._sizes.most_common(1)[0]
        self.take(next(name for name in self._parked if name.tenant == tenant))
