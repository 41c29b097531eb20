"""A log at one size, and what joins two sizes of it."""

from __future__ import annotations

from dataclasses import dataclass

from audit.errors import LogStateError
from audit.tree import Tree
from protocol.digests import digest


@dataclass(frozen=True)
class Head:
    """A log at one size, unsigned.

    Attributes:
        size: number of entries.
        root: of the tree over them, 32 bytes.
    """

    size: int
    root: bytes

    @property
    def digest(self) -> bytes:
        """What a request names this head by, in the transcript of its proof."""
        return digest("blindproof log head", (self.size, self.root))


@dataclass(frozen=True)
class InclusionProof:
    """What shows that an entry is in the log.

    Attributes:
        index: of the entry.
        head: the log in which it is, to be compared with a checkpoint.
        hashes: the siblings from the leaf up, 32 bytes each.
    """

    index: int
    head: Head
    hashes: tuple[bytes, ...]


def require_extends(tree: Tree, older: Head) -> None:
    """Refuse a tree that does not begin with the log as it once was.

    Raises:
        LogStateError: it is shorter, or another.
    """
    if tree.size < older.size:
        raise LogStateError(
            f"the log has {tree.size} entries and had {older.size}: truncated, or an old copy"
        )
    found = tree.root(older.size)
    if found != older.root:
        raise LogStateError(
            f"at {older.size} entries the log's root was {older.root.hex()}, now it is "
            f"{found.hex()}: another history"
        )
