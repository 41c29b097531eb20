"""The things that were used last, within a bound."""

from __future__ import annotations

from collections import OrderedDict
from typing import Generic, TypeVar

Thing = TypeVar("Thing")


class Recent(Generic[Thing]):
    """Things by digest, as many as fit; the one used longest ago goes first.

    The last one stays however large it is: it is being used.
    """

    def __init__(self, limit: int) -> None:
        """Keep things of `limit` bytes together."""
        self._limit = limit
        self._things: OrderedDict[bytes, tuple[Thing, int]] = OrderedDict()  # oldest first
        self._held = 0

    def get(self, digest: bytes) -> Thing | None:
        """The thing of a digest, if it is here."""
        found = self._things.get(digest)
        if found is None:
            return None
        self._things.move_to_end(digest)
        return found[0]

    def put(self, digest: bytes, thing: Thing, size: int) -> None:
        """Keep a thing of a size, in the place of as many others as it takes."""
        _, before = self._things.pop(digest, (None, 0))
        self._things[digest] = thing, size
        self._held += size - before
        while self._held > self._limit and len(self._things) > 1:
            _, (_, freed) = self._things.popitem(last=False)
            self._held -= freed
