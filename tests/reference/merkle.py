"""Column leaves and the tree over them."""

from __future__ import annotations

import hashlib

import numpy as np
from numpy.typing import NDArray


def leaf(prefix: bytes, salt: bytes, column: list[int]) -> bytes:
    """``SHA-256(prefix || salt || le64 words)``."""
    words = b"".join(word.to_bytes(8, "little") for word in column)
    return hashlib.sha256(prefix + salt + words).digest()


def leaves(
    arrays: list[NDArray[np.uint64]], salts: NDArray[np.uint8], prefix: bytes
) -> list[bytes]:
    """The leaf of every column of the stacked arrays."""
    return [
        leaf(prefix, salts[j].tobytes(), [int(row[j]) for array in arrays for row in array])
        for j in range(len(salts))
    ]


def nodes(level: list[bytes], prefix: bytes) -> list[bytes]:
    """Heap order: zero, root, then level after level, leaves last."""
    tree = [bytes(32)] * len(level) + level
    for i in range(len(level) - 1, 0, -1):
        tree[i] = hashlib.sha256(prefix + tree[2 * i] + tree[2 * i + 1]).digest()
    return tree


def siblings(positions: list[int], count: int) -> list[int]:
    """Heap indices of the nodes that an opening lists: level by level up, by ascending index."""
    listed = []
    level = {count + position for position in positions}
    while level != {1}:
        listed += [node ^ 1 for node in sorted(level) if node ^ 1 not in level]
        level = {node // 2 for node in level}
    return listed


def root(opened: dict[int, bytes], opening: bytes, count: int, prefix: bytes) -> bytes:
    """The root over ``count`` leaves from those opened, by position."""
    listed = siblings(list(opened), count)
    if len(opening) != 32 * len(listed):
        raise ValueError(f"opening: expected {32 * len(listed)} bytes")
    known = {count + position: leaf for position, leaf in opened.items()}
    known |= {node: opening[32 * i : 32 * i + 32] for i, node in enumerate(listed)}
    for node in range(count - 1, 0, -1):
        if 2 * node in known and 2 * node + 1 in known:
            pair = known[2 * node] + known[2 * node + 1]
            known[node] = hashlib.sha256(prefix + pair).digest()
    return known[1]
