"""Merkle trees over leaf hashes, and the verification of proofs about them.

RFC 9162, section 2.1 (the tree of RFC 6962 with SHA-256).  A tree of n leaves is split at the
largest power of two below n; the *compact range* of n is the list of its perfect subtrees from left
to right, one for each bit of n that is set, which determines the root.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from audit.errors import AuditError, ConsistencyError, InclusionError

HASH_BYTES = 32
MAX_SIZE = (1 << 63) - 1
"""Leaves of a tree: what a signed integer of a database holds."""

EMPTY_ROOT = hashlib.sha256(b"").digest()


def leaf_hash(data: bytes) -> bytes:
    """The hash of an entry; the first byte keeps entries and inner nodes apart."""
    return hashlib.sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """The hash of an inner node over the hashes of its children, 32 bytes each."""
    return hashlib.sha256(b"\x01" + left + right).digest()


def compact_range(begin: int, end: int) -> list[tuple[int, int]]:
    """The perfect subtrees of the leaves from `begin` to `end`, as (level, index), left to right.

    Subtree (level, index) has the leaves from `index << level` to `(index + 1) << level`.  The
    start must be a multiple of the largest subtree's width, as it is for all ranges of a proof.
    """
    nodes = []
    while begin < end:
        level = (end - begin).bit_length() - 1
        nodes.append((level, begin >> level))
        begin += 1 << level
    return nodes


def root_of(size: int, hashes: Sequence[bytes]) -> bytes:
    """The root of a tree of a size, from the hashes of its compact range, left to right.

    Raises:
        AuditError: another number of hashes than the size has subtrees.
    """
    if len(hashes) != size.bit_count():
        raise AuditError(f"a tree of {size} leaves has {size.bit_count()} perfect subtrees")
    if not hashes:
        return EMPTY_ROOT
    *rest, root = hashes
    for left in reversed(rest):
        root = node_hash(left, root)
    return root


def verify_inclusion(
    root: bytes, size: int, index: int, leaf: bytes, proof: Sequence[bytes]
) -> None:
    """Check that a leaf is at an index of the tree with this size and root.

    RFC 9162, section 2.1.3.2.

    Args:
        root: 32 bytes, from a checkpoint that was verified.
        size: number of leaves of that tree.
        index: of the leaf, from 0.
        leaf: the leaf's hash, 32 bytes.
        proof: hashes of the siblings from the leaf up.

    Raises:
        InclusionError: with the reason.
    """
    if not 0 <= index < size <= MAX_SIZE:
        raise InclusionError(f"no leaf {index} in a tree of {size} leaves")
    if any(len(item) != HASH_BYTES for item in (root, leaf, *proof)):
        raise InclusionError(f"root, leaf and proof must be hashes of {HASH_BYTES} bytes")
    at, last = index, size - 1
    found = leaf
    for sibling in proof:
        if last == 0:
            raise InclusionError(f"proof of {len(proof)} hashes is too long for {size} leaves")
        if at & 1 or at == last:
            found = node_hash(sibling, found)
            at, last = _above_missing_siblings(at, last)
        else:
            found = node_hash(found, sibling)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise InclusionError(f"proof of {len(proof)} hashes is too short for {size} leaves")
    if found != root:
        raise InclusionError(f"leaf {index} leads to root {found.hex()}, not to {root.hex()}")


def verify_consistency(
    old_size: int, old_root: bytes, new_size: int, new_root: bytes, proof: Sequence[bytes]
) -> None:
    """Check that the newer tree begins with all leaves of the older one, in their order.

    RFC 9162, section 2.1.4.2.  An empty older tree is refused: everything extends it, so a proof
    would show nothing.

    Args:
        old_size: number of leaves of the older tree.
        old_root: its root, 32 bytes, from a checkpoint that was verified.
        new_size: number of leaves of the newer tree.
        new_root: its root, the same.
        proof: hashes of subtrees, empty if and only if the sizes are equal.

    Raises:
        ConsistencyError: with the reason.
    """
    if not 0 < old_size <= new_size <= MAX_SIZE:
        raise ConsistencyError(f"a tree of {new_size} leaves cannot extend one of {old_size}")
    if old_size == new_size:
        if proof:
            raise ConsistencyError("trees of one size need no proof, found hashes")
        if old_root != new_root:
            raise ConsistencyError(
                f"two trees of {old_size} leaves: roots {old_root.hex()} and {new_root.hex()}"
            )
        return
    if any(len(item) != HASH_BYTES for item in (old_root, new_root, *proof)):
        raise ConsistencyError(f"roots and proof must be hashes of {HASH_BYTES} bytes")
    old, new = _extended_roots(old_size, old_root, new_size, proof)
    if old != old_root:
        raise ConsistencyError(f"proof leads to old root {old.hex()}, not to {old_root.hex()}")
    if new != new_root:
        raise ConsistencyError(f"proof leads to new root {new.hex()}, not to {new_root.hex()}")


def _extended_roots(
    old_size: int, old_root: bytes, new_size: int, proof: Sequence[bytes]
) -> tuple[bytes, bytes]:
    """Both roots as a proof has them, for sizes that differ."""
    # A perfect older tree is a subtree of the newer one: its root is known and not in the proof.
    hashes = [old_root, *proof] if old_size.bit_count() == 1 else list(proof)
    if not proof:
        raise ConsistencyError("trees of different sizes need a proof, found none")
    at, last = old_size - 1, new_size - 1
    while at & 1:
        at, last = at >> 1, last >> 1
    old = new = hashes[0]
    for item in hashes[1:]:
        if last == 0:
            raise ConsistencyError(f"proof of {len(proof)} hashes is too long")
        if at & 1 or at == last:
            old, new = node_hash(item, old), node_hash(item, new)
            at, last = _above_missing_siblings(at, last)
        else:
            new = node_hash(new, item)
        at, last = at >> 1, last >> 1
    if last != 0:
        raise ConsistencyError(f"proof of {len(proof)} hashes is too short")
    return old, new


def _above_missing_siblings(at: int, last: int) -> tuple[int, int]:
    """Skip the levels where a node at the right edge has no sibling and passes unchanged."""
    while at and not at & 1:
        at, last = at >> 1, last >> 1
    return at, last
