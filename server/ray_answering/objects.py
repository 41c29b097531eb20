"""What is in the cluster for its workers to fetch: each thing once, by digest."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import ray

from protocol.digests import DIGEST_BYTES
from server.workers.frames import Frame, Kind
from server.workers.process import WorkerLostError
from server.workers.recent import Recent

SHORT_BYTES = 1 << 20
"""What is worth no detour through the cluster's memory."""


class ClusterObjects:
    """References to things in the cluster's memory, where they stay as long as these.

    For one event loop.
    """

    def __init__(self, limit: int) -> None:
        """Keep models and keys of `limit` bytes together."""
        self._recent: Recent[ray.ObjectRef[bytes]] = Recent(limit)
        self._shares: dict[bytes, ray.ObjectRef[bytes] | None] = {}

    async def reference(
        self, digest: bytes, blobs: Callable[[], tuple[bytes, ...]]
    ) -> ray.ObjectRef[bytes]:
        """A reference to a model or key, which is put there if it is not; or to a share.

        Raises:
            WorkerLostError: it is a share that nobody evaluated.
            ray.exceptions.ObjectStoreFullError: there is no room for it.
        """
        found = self._shares.get(digest) or self._recent.get(digest)
        if found is None:
            parts = blobs()
            found = await self.put(Frame(Kind.SUPPLY, (), parts))
            self._recent.put(digest, found, sum(map(len, parts)))
        return found

    async def put(self, frame: Frame) -> ray.ObjectRef[bytes]:
        """Put a frame there.  Raises ray.exceptions.ObjectStoreFullError."""
        return await asyncio.to_thread(lambda: ray.put(frame.encoded()))

    async def argument(self, frame: Frame) -> bytes | ray.ObjectRef[bytes]:
        """A frame as a call takes it: itself if it is short, or where it is.  Raises as `put`."""
        if sum(map(len, frame.blobs)) <= SHORT_BYTES:
            return frame.encoded()
        return await self.put(frame)

    @contextmanager
    def shares(self, count: int) -> Iterator[tuple[bytes, ...]]:
        """Names for shares of an evaluation, which are kept while the context lasts."""
        names = tuple(secrets.token_bytes(DIGEST_BYTES) for _ in range(count))
        self._shares.update(dict.fromkeys(names))
        try:
            yield names
        finally:
            for name in names:
                del self._shares[name]

    def keep(self, name: bytes, reference: ray.ObjectRef[bytes]) -> None:
        """Keep a share, if it is still wanted."""
        if name in self._shares:
            self._shares[name] = reference


def not_at_hand() -> tuple[bytes, ...]:
    """Instead of the blobs of a share, which the server never has.  Raises WorkerLostError."""
    raise WorkerLostError("a share of an evaluation is not there")
