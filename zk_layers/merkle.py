"""Merkle tree over SHA-256 with multi-openings.

Leaf j = SHA-256(0x00 || salt_j || column words), node = SHA-256(0x01 || left || right).  The tree
is an array in heap order: node 1 is the root, node m + j the leaf j.  An opening of several
leaves lists, level by level from the leaves and by ascending index, just the siblings which
cannot be computed.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import kernels
from zk_layers.checks import Check, require

LEAF_PREFIX = b"\x00"
NODE_PREFIX = b"\x01"
HASH_BYTES = 32
SALT_BYTES = 32

Hashes = npt.NDArray[np.uint8]


def merkle_tree(leaves: Hashes) -> Hashes:
    """All nodes (2 m, 32) in heap order above m leaves (m, 32)."""
    return kernels.merkle_nodes(leaves, NODE_PREFIX)


def sibling_nodes(positions: npt.NDArray[np.int64], leaves: int) -> list[int]:
    """Heap indices of the nodes an opening of these distinct leaf positions has to list."""
    needed: list[int] = []
    level = [leaves + int(position) for position in positions]
    while level[0] > 1:
        known = set(level)
        needed += [node ^ 1 for node in level if node ^ 1 not in known]
        level = sorted({node >> 1 for node in level})
    return needed


def open_leaves(tree: Hashes, positions: npt.NDArray[np.int64]) -> bytes:
    """The opening of ascending leaf positions."""
    needed = sibling_nodes(positions, tree.shape[0] // 2)
    return tree[np.array(needed, dtype=np.int64)].tobytes() if needed else b""


def verify_leaves(
    root: bytes, positions: npt.NDArray[np.int64], leaves: Hashes, opening: bytes, count: int
) -> None:
    """Check that leaves at ascending positions belong to the tree of `count` leaves.

    Raises:
        VerificationError: when the opening leads to another root.
    """
    expected = HASH_BYTES * len(sibling_nodes(positions, count))
    fits = len(opening) == expected
    require(fits, Check.MERKLE, f"an opening of {len(opening)} bytes, {expected} expected")
    found = kernels.merkle_root(leaves, positions, opening, count, NODE_PREFIX)
    require(found == root, Check.MERKLE, "the opened columns do not belong to the root")
