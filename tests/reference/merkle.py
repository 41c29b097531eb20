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
