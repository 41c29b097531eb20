"""Hashes of chunks, columns and trees."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from kernels import (
    gather_columns,
    hash_columns,
    hash_leaves,
    merkle_nodes,
    merkle_root,
    sha256_chunks,
)
from tests.reference import merkle
from tests.reference.inputs import generators

prefixes = st.binary(max_size=70)


def any_words(rng, *shape):
    return rng.integers(0, 2**64, shape, dtype=np.uint64)


@given(st.binary(max_size=300), st.integers(1, 120))
def test_sha256_chunks(data, chunk_bytes):
    wanted = b"".join(
        hashlib.sha256(data[i : i + chunk_bytes]).digest() for i in range(0, len(data), chunk_bytes)
    )
    assert sha256_chunks(data, chunk_bytes) == wanted
    assert sha256_chunks(bytearray(data), chunk_bytes) == wanted
    assert sha256_chunks(memoryview(data), chunk_bytes) == wanted
    assert sha256_chunks(np.frombuffer(data, dtype=np.uint8), chunk_bytes) == wanted


def test_sha256_chunks_of_any_array(rng):
    for array in (
        any_words(rng, 3, 4, 5),
        rng.normal(size=(7, 3)),
        rng.integers(-5, 5, 11).astype(np.int16),
        np.array(3.5),
        np.zeros((4, 0, 2)),
    ):
        data = array.tobytes()
        wanted = b"".join(
            hashlib.sha256(data[i : i + 64]).digest() for i in range(0, len(data), 64)
        )
        assert sha256_chunks(array, 64) == wanted
    with pytest.raises(ValueError, match="C-contiguous"):
        sha256_chunks(any_words(rng, 4, 4).T, 64)
    with pytest.raises(ValueError, match="chunk_bytes: expected a positive length"):
        sha256_chunks(b"abc", 0)
    assert len(sha256_chunks(b"abc", 2**63)) == 32
    with pytest.raises(TypeError):
        sha256_chunks("text", 64)


@given(
    generators(),
    st.lists(st.integers(0, 4), max_size=3),
    st.sampled_from([0, 1, 2, 15, 16, 17, 40]),
    prefixes,
)
def test_hash_columns(rng, counts, n, prefix):
    arrays = [any_words(rng, count, n) for count in counts]
    salts = rng.integers(0, 256, (n, 32), dtype=np.uint8)
    wanted = merkle.leaves(arrays, salts, prefix)
    found = hash_columns(arrays, salts, prefix)
    assert found.shape == (n, 32)
    assert [row.tobytes() for row in found] == wanted
    # The verifier's side: some columns, gathered, give the same leaves.
    positions = rng.integers(0, n, 5) if n else np.zeros(0, dtype=np.int64)
    columns = [gather_columns(array, positions) for array in arrays]
    if columns:
        together = np.ascontiguousarray(np.concatenate(columns, axis=1))
        opened = hash_leaves(together, salts[positions], prefix)
        assert np.array_equal(opened, found[positions])


@given(generators(), st.integers(0, 5), st.integers(1, 40), st.integers(0, 9))
def test_gather_columns(rng, rows, n, count):
    matrix, positions = any_words(rng, rows, n), rng.integers(0, n, count)
    assert np.array_equal(gather_columns(matrix, positions), matrix[:, positions].T)


@given(generators(), st.integers(0, 9), prefixes)
def test_merkle_nodes(rng, depth, prefix):
    leaves = rng.integers(0, 256, (2**depth, 32), dtype=np.uint8)
    found = merkle_nodes(leaves, prefix)
    assert found.shape == (2 ** (depth + 1), 32)
    wanted = merkle.nodes([leaf.tobytes() for leaf in leaves], prefix)
    assert [node.tobytes() for node in found] == wanted


def opening_of(tree, positions):
    """The opening of positions of a tree in heap order, and the twin's root from it."""
    count = len(tree) // 2
    opening = b"".join(tree[node].tobytes() for node in merkle.siblings(positions, count))
    opened = {position: tree[count + position].tobytes() for position in positions}
    return opening, opened


@given(generators(), st.integers(0, 7), prefixes, st.data())
def test_merkle_root(rng, depth, prefix, data):
    count = 2**depth
    leaves = rng.integers(0, 256, (count, 32), dtype=np.uint8)
    positions = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    tree = merkle_nodes(leaves, prefix)
    opening, opened = opening_of(tree, positions)
    found = merkle_root(leaves[positions], np.array(positions), opening, count, prefix)
    assert found == tree[1].tobytes()
    assert found == merkle.root(opened, opening, count, prefix)
    # An opening that belongs to no tree has the root that the twin computes, too.
    forged = rng.bytes(len(opening))
    found = merkle_root(leaves[positions], np.array(positions), forged, count, prefix)
    assert found == merkle.root(opened, forged, count, prefix)


@given(generators(), st.integers(0, 5), st.data())
def test_merkle_root_depends_on_every_bit(rng, depth, data):
    count = 2**depth
    positions = sorted(data.draw(st.sets(st.integers(0, count - 1), min_size=1)))
    tree = merkle_nodes(rng.integers(0, 256, (count, 32), dtype=np.uint8), b"node")
    opening, _ = opening_of(tree, positions)
    leaves = tree[count:][positions]
    shown = np.frombuffer(leaves.tobytes() + opening, dtype=np.uint8).copy()
    shown[rng.integers(0, len(shown))] ^= 1 << int(rng.integers(0, 8))
    leaves, opening = shown[: leaves.size].reshape(leaves.shape), shown[leaves.size :].tobytes()
    assert merkle_root(leaves, np.array(positions), opening, count, b"node") != tree[1].tobytes()


def test_merkle_root_refusals():
    leaves, positions = np.zeros((2, 32), dtype=np.uint8), np.array([1, 6])
    root = merkle_root(leaves, positions, bytes(128), 8, b"")
    assert len(root) == 32
    for size in (0, 96, 127, 129, 160):
        with pytest.raises(ValueError, match=f"opening: expected 128 bytes, found {size}"):
            merkle_root(leaves, positions, bytes(size), 8, b"")
    for bad in ([6, 1], [6, 6]):
        with pytest.raises(ValueError, match="positions: expected ascending distinct positions"):
            merkle_root(leaves, np.array(bad), bytes(128), 8, b"")
    for bad in ([1, 8], [-1, 6]):
        with pytest.raises(ValueError, match=r"indices in \[0, 8\)"):
            merkle_root(leaves, np.array(bad), bytes(128), 8, b"")
    with pytest.raises(ValueError, match="positions: expected at least one"):
        merkle_root(leaves[:0], positions[:0], b"", 8, b"")
    with pytest.raises(ValueError, match=r"leaves: expected shape \[2, 32\]"):
        merkle_root(leaves[:1], positions, bytes(128), 8, b"")
    for count in (0, 3, 12):
        with pytest.raises(ValueError, match=f"count: expected a power of two, found {count}"):
            merkle_root(leaves, positions, bytes(128), count, b"")
    with pytest.raises(ValueError, match="opening: expected 2048 bytes"):
        merkle_root(leaves, positions, b"", 2**63, b"")
    with pytest.raises(ValueError, match="prefix: expected at most 256 bytes"):
        merkle_root(leaves, positions, bytes(128), 8, bytes(257))


def test_refusals(rng):
    salts = np.zeros((4, 32), dtype=np.uint8)
    with pytest.raises(ValueError, match="a power of two of leaves, found 3"):
        merkle_nodes(salts[:3], b"")
    with pytest.raises(ValueError, match="a power of two of leaves, found 0"):
        merkle_nodes(salts[:0], b"")
    with pytest.raises(ValueError, match=r"rows: expected shape \[2, 4\], found shape \[2, 5\]"):
        hash_columns([any_words(rng, 2, 5)], salts, b"")
    with pytest.raises(ValueError, match="prefix: expected at most 256 bytes"):
        hash_columns([], salts, bytes(257))
    with pytest.raises(ValueError, match=r"salts: expected shape \[2, 32\]"):
        hash_leaves(any_words(rng, 2, 5), salts, b"")
    with pytest.raises(ValueError, match=r"indices in \[0, 5\)"):
        gather_columns(any_words(rng, 2, 5), np.array([5]))
