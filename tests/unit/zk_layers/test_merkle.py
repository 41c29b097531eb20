from __future__ import annotations

import hashlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import VerificationError
from zk_layers.checks import Check
from zk_layers.merkle import (
    HASH_BYTES,
    LEAF_PREFIX,
    NODE_PREFIX,
    merkle_tree,
    open_leaves,
    sibling_nodes,
    verify_leaves,
)

LEAVES = 64


def leaves_of(count: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (count, HASH_BYTES), dtype=np.uint8)


@pytest.fixture(scope="module")
def tree() -> np.ndarray:
    return merkle_tree(leaves_of(LEAVES))


def test_the_tree_is_the_one_described(tree):
    level = [leaf.tobytes() for leaf in leaves_of(LEAVES)]
    while len(level) > 1:
        pairs = zip(level[::2], level[1::2], strict=True)
        level = [hashlib.sha256(NODE_PREFIX + a + b).digest() for a, b in pairs]
    assert tree[1].tobytes() == level[0]


def test_leaves_and_nodes_are_of_different_domains():
    assert LEAF_PREFIX != NODE_PREFIX


@pytest.mark.accepts("C-34")
@given(st.sets(st.integers(0, LEAVES - 1), min_size=1))
def test_an_opening_leads_to_the_root(positions):
    leaves = leaves_of(LEAVES)
    nodes = merkle_tree(leaves)
    at = np.array(sorted(positions), dtype=np.int64)
    opening = open_leaves(nodes, at)
    assert len(opening) == HASH_BYTES * len(sibling_nodes(at, LEAVES))
    verify_leaves(nodes[1].tobytes(), at, leaves[at], opening, LEAVES)


@pytest.mark.rejects("C-34")
@given(st.sets(st.integers(0, LEAVES - 1), min_size=1, max_size=20), st.data())
def test_any_change_is_refused(positions, data):
    leaves = leaves_of(LEAVES)
    nodes = merkle_tree(leaves)
    root = nodes[1].tobytes()
    at = np.array(sorted(positions), dtype=np.int64)
    opening = bytearray(open_leaves(nodes, at))
    opened = leaves[at].copy()
    part = data.draw(st.sampled_from(["leaf", "opening", "root"] if opening else ["leaf", "root"]))
    if part == "leaf":
        row, column = data.draw(st.integers(0, len(at) - 1)), data.draw(st.integers(0, 31))
        opened[row, column] ^= 1
    elif part == "opening":
        opening[data.draw(st.integers(0, len(opening) - 1))] ^= 0x80
    else:
        root = root[1:] + root[:1]
    with pytest.raises(VerificationError) as refused:
        verify_leaves(root, at, opened, bytes(opening), LEAVES)
    assert refused.value.check == Check.MERKLE


def test_leaves_at_other_positions_are_refused(tree):
    leaves, at = leaves_of(LEAVES), np.array([3, 9, 40], dtype=np.int64)
    opening = open_leaves(tree, at)
    moved = np.array([2, 9, 40], dtype=np.int64)
    with pytest.raises(VerificationError):
        verify_leaves(tree[1].tobytes(), moved, leaves[at], opening, LEAVES)


def test_an_opening_lists_nothing_that_can_be_computed():
    everything = np.arange(LEAVES, dtype=np.int64)
    assert sibling_nodes(everything, LEAVES) == []
    assert len(sibling_nodes(np.array([5], dtype=np.int64), LEAVES)) == 6
    assert sibling_nodes(np.array([4, 5], dtype=np.int64), LEAVES)[0] == (LEAVES + 4) // 2 ^ 1
