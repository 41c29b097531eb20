from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import AuditError, ConsistencyError, InclusionError, UnknownEntryError
from audit.merkle import (
    EMPTY_ROOT,
    MAX_SIZE,
    compact_range,
    leaf_hash,
    root_of,
    verify_consistency,
    verify_inclusion,
)
from audit.tree import MemoryNodes, Tree
from tests.reference import merkle_log

LEAVES = [leaf_hash(number.to_bytes(2, "little")) for number in range(300)]


class CountedNodes(MemoryNodes):
    """Counts what is read."""

    reads = 0
    nodes = 0

    def read(self, nodes):
        self.reads += 1
        self.nodes += len(nodes)
        return super().read(nodes)


def tree_of(size):
    tree = Tree(MemoryNodes())
    tree.append(LEAVES[:size])
    return tree


@given(st.lists(st.integers(0, 20), max_size=12))
def test_batches_of_any_size_lead_to_the_roots_of_the_definition(batches):
    tree = Tree(MemoryNodes())
    for batch in batches:
        leaves = LEAVES[tree.size : tree.size + batch]
        assert tree.append(leaves) == tree.root() == merkle_log.head(LEAVES[: tree.size])
    for size in range(tree.size + 1):
        assert tree.root(size) == merkle_log.head(LEAVES[:size])


@given(st.data())
def test_inclusion_proofs_are_those_of_the_definition(data):
    size = data.draw(st.integers(1, 130))
    index = data.draw(st.integers(0, size - 1))
    tree = tree_of(data.draw(st.integers(size, 140)))
    found = tree.inclusion_proof(index, size)
    assert found == merkle_log.path(index, LEAVES[:size])
    verify_inclusion(tree.root(size), size, index, LEAVES[index], found)


@given(st.data())
def test_consistency_proofs_are_those_of_the_definition(data):
    new = data.draw(st.integers(1, 130))
    old = data.draw(st.integers(1, new))
    tree = tree_of(data.draw(st.integers(new, 140)))
    found = tree.consistency_proof(old, new)
    assert found == merkle_log.proof(old, LEAVES[:new])
    verify_consistency(old, tree.root(old), new, tree.root(new), found)


@given(st.data())
def test_an_inclusion_proof_is_of_one_leaf_at_one_place(data):
    size = data.draw(st.integers(2, 70))
    index, other = data.draw(
        st.lists(st.integers(0, size - 1), min_size=2, max_size=2, unique=True)
    )
    tree = tree_of(size)
    proof = tree.inclusion_proof(index)
    for leaf, at in ((LEAVES[other], index), (LEAVES[index], other)):
        with pytest.raises(InclusionError):
            verify_inclusion(tree.root(), size, at, leaf, proof)


@given(st.data())
def test_no_change_of_the_past_is_consistent(data):
    new = data.draw(st.integers(2, 70))
    old = data.draw(st.integers(1, new - 1))
    changed = data.draw(st.integers(0, old - 1))
    tree, fork = tree_of(new), Tree(MemoryNodes())
    fork.append([*LEAVES[:changed], leaf_hash(b"another"), *LEAVES[changed + 1 : new]])
    for proof in (tree.consistency_proof(old), fork.consistency_proof(old)):
        with pytest.raises(ConsistencyError):
            verify_consistency(old, tree.root(old), new, fork.root(), proof)


def test_proofs_read_a_logarithm_of_nodes_at_once():
    store = CountedNodes()
    tree = Tree(store)
    tree.append(hashlib.sha256(number.to_bytes(4, "big")).digest() for number in range(100_000))
    for work in (
        lambda: tree.inclusion_proof(77_777),
        lambda: tree.consistency_proof(77_777),
        lambda: tree.append(LEAVES[:1]),
    ):
        store.reads = store.nodes = 0
        work()
        assert store.reads == 1
        assert store.nodes <= 2 * (100_000).bit_length()


@pytest.mark.parametrize(("begin", "end"), [(0, 0), (0, 7), (0, 64), (64, 100), (96, 100)])
def test_a_compact_range_covers_its_leaves_once(begin, end):
    covered = [
        leaf
        for level, index in compact_range(begin, end)
        for leaf in range(index << level, (index + 1) << level)
    ]
    assert covered == list(range(begin, end))


def test_a_root_needs_one_hash_for_each_subtree():
    assert root_of(0, []) == EMPTY_ROOT
    for size, hashes in ((0, LEAVES[:1]), (3, LEAVES[:1]), (4, LEAVES[:2])):
        with pytest.raises(AuditError, match="perfect subtrees"):
            root_of(size, hashes)


@pytest.mark.parametrize(("index", "size"), [(0, 0), (-1, 3), (3, 3), (0, 4)])
def test_unknown_leaves_have_no_proof(index, size):
    with pytest.raises(UnknownEntryError):
        tree_of(3).inclusion_proof(index, size)


@pytest.mark.parametrize(("old", "new"), [(0, 3), (3, 2), (1, 4), (-1, 3)])
def test_unknown_sizes_have_no_proof(old, new):
    with pytest.raises(UnknownEntryError):
        tree_of(3).consistency_proof(old, new)


def test_sizes_beyond_any_log_are_refused_and_not_computed():
    with pytest.raises(InclusionError):
        verify_inclusion(LEAVES[0], MAX_SIZE + 1, 0, LEAVES[0], [])
    with pytest.raises(ConsistencyError):
        verify_consistency(1, LEAVES[0], MAX_SIZE + 1, LEAVES[0], LEAVES[:63])
    with pytest.raises(UnknownEntryError):
        Tree(MemoryNodes(), MAX_SIZE).append(LEAVES[:1])
