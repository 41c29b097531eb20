"""An append-only Merkle tree over stored nodes, which makes proofs.

What is stored are the perfect subtrees, (level, index) as in `audit.merkle.compact_range`; they
never change once they are there.  Level 0 are the leaf hashes.  Every proof and every batch of
appended leaves reads O(log n) nodes, in one call of the store.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol, TypeAlias

from audit.errors import UnknownEntryError
from audit.merkle import MAX_SIZE, compact_range, node_hash, root_of

Node: TypeAlias = tuple[int, int]
"""Level and index of a perfect subtree."""


class NodeStore(Protocol):
    """Where the hashes of perfect subtrees are kept."""

    def read(self, nodes: Sequence[Node]) -> Mapping[Node, bytes]:
        """The hashes of nodes that were written.

        Raises:
            LogStateError: one is not there.
        """

    def write(self, nodes: Mapping[Node, bytes]) -> None:
        """Keep the hashes of nodes; none was written before."""


class MemoryNodes:
    """Nodes in a dictionary, for small trees and for those who rebuild a log."""

    def __init__(self) -> None:
        self._nodes: dict[Node, bytes] = {}

    def read(self, nodes: Sequence[Node]) -> Mapping[Node, bytes]:
        """The hashes of nodes that were written."""
        return {node: self._nodes[node] for node in nodes}

    def write(self, nodes: Mapping[Node, bytes]) -> None:
        """Keep the hashes of nodes."""
        self._nodes.update(nodes)


class Tree:
    """A tree of a known size over a store.

    Attributes:
        size: number of leaves.
    """

    def __init__(self, store: NodeStore, size: int = 0) -> None:
        self._store = store
        self.size = size

    def append(self, leaves: Iterable[bytes]) -> bytes:
        """Add leaf hashes at the end, and return the new root.

        Raises:
            UnknownEntryError: more leaves than a tree may have; nothing was added.
        """
        batch = list(leaves)
        size = self.size + len(batch)
        if size > MAX_SIZE:
            raise UnknownEntryError(f"a tree has at most {MAX_SIZE} leaves")
        edge = compact_range(0, self.size)
        known = self._store.read(edge)
        hashes = [known[node] for node in edge]
        added: dict[Node, bytes] = {}
        for index, leaf in enumerate(batch, start=self.size):
            added[(0, index)] = found = leaf
            # Each trailing one of the index is a perfect subtree which this leaf completes.
            level, at = 0, index
            while at & 1:
                found = node_hash(hashes.pop(), found)
                level, at = level + 1, at >> 1
                added[(level, at)] = found
            hashes.append(found)
        self._store.write(added)
        self.size = size
        return root_of(size, hashes)

    def root(self, size: int | None = None) -> bytes:
        """The root as it is, or as it was at a smaller size.

        Raises:
            UnknownEntryError: the tree never had that size yet.
        """
        size = self._known_size(size)
        edge = compact_range(0, size)
        known = self._store.read(edge)
        return root_of(size, [known[node] for node in edge])

    def inclusion_proof(self, index: int, size: int | None = None) -> list[bytes]:
        """The siblings of a leaf from the bottom up, RFC 9162, section 2.1.3.1.

        Raises:
            UnknownEntryError: no such leaf in a tree of that size, or no such size yet.
        """
        size = self._known_size(size)
        if not 0 <= index < size:
            raise UnknownEntryError(f"no leaf {index} in a tree of {size} leaves")
        begin, end = 0, size
        siblings = []
        while end - begin > 1:
            middle = _split(begin, end)
            if index < middle:
                siblings.append((middle, end))
                end = middle
            else:
                siblings.append((begin, middle))
                begin = middle
        return self._hashes(siblings[::-1])

    def consistency_proof(self, old_size: int, new_size: int | None = None) -> list[bytes]:
        """What shows that one size of the tree extends another, RFC 9162, section 2.1.4.1.

        Raises:
            UnknownEntryError: sizes that the tree did not have, or in the wrong order.
        """
        new_size = self._known_size(new_size)
        if not 0 < old_size <= new_size:
            raise UnknownEntryError(f"no proof from {old_size} to {new_size} leaves")
        begin, end = 0, new_size
        parts = []
        while end != old_size:
            middle = _split(begin, end)
            if old_size <= middle:
                parts.append((middle, end))
                end = middle
            else:
                parts.append((begin, middle))
                begin = middle
        if begin:
            parts.append((begin, end))
        return self._hashes(parts[::-1])

    def _known_size(self, size: int | None) -> int:
        if size is None:
            return self.size
        if not 0 <= size <= self.size:
            raise UnknownEntryError(f"the tree has {self.size} leaves, asked for {size}")
        return size

    def _hashes(self, ranges: Sequence[tuple[int, int]]) -> list[bytes]:
        """The hash of each range of leaves: perfect subtrees, and one at the right edge."""
        covers = [compact_range(begin, end) for begin, end in ranges]
        known = self._store.read([node for cover in covers for node in cover])
        return [
            root_of(end - begin, [known[node] for node in cover])
            for (begin, end), cover in zip(ranges, covers, strict=True)
        ]


def _split(begin: int, end: int) -> int:
    """Where RFC 9162 splits the leaves from `begin` to `end`, of which there are two or more."""
    return begin + (1 << ((end - begin - 1).bit_length() - 1))
