"""Decision trees of any library, read: what there is to say of them before any encryption.

A split sends a record left where x[feature] <= threshold and right otherwise; libraries that
compare in single precision have thresholds and inputs rounded to it. Missing values do not occur:
clients refuse them or replace them.

Symbols: J outputs, T trees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from protocol.errors import ModelError, NonFiniteError

Floats: TypeAlias = npt.NDArray[np.float64]
Rows: TypeAlias = npt.NDArray[np.int64]

MAX_TREE_DEPTH = 64
"""Deeper trees are not even read."""
MAX_TREES = 4096
MAX_LEAF_VALUES = 1 << 22
"""Nodes times outputs: what readers allocate for the leaves of an ensemble."""


@dataclass(frozen=True, eq=False)
class Leaf:
    """What a tree says in one place.

    Attributes:
        value: float64 (J,).
    """

    value: Floats

    def __post_init__(self) -> None:
        value = np.asarray(self.value, dtype=np.float64)
        if value.ndim != 1:
            raise ModelError("a leaf has one value for each output")
        if not np.isfinite(value).all():
            raise NonFiniteError("a leaf of a tree is NaN or infinite")
        object.__setattr__(self, "value", value)

    @property
    def depth(self) -> int:
        """None."""
        return 0


@dataclass(frozen=True, eq=False)
class Split:
    """left where x[feature] <= threshold, else right; the threshold may be infinite."""

    feature: int
    threshold: float
    left: Node
    right: Node
    depth: int = field(init=False)

    def __post_init__(self) -> None:
        if np.isnan(self.threshold):
            raise NonFiniteError("a threshold of a tree is NaN")
        depth = 1 + max(self.left.depth, self.right.depth)
        if depth > MAX_TREE_DEPTH:
            raise ModelError(f"a tree is deeper than {MAX_TREE_DEPTH} splits")
        object.__setattr__(self, "depth", depth)


Node: TypeAlias = Leaf | Split


@dataclass(frozen=True, eq=False)
class TreeEnsemble:
    """base + the sum of the trees, or their average.

    Attributes:
        trees: their roots.
        features: how many inputs they may read.
        base: float64 (J,).
        average: whether the trees' sum is divided by their number.
        single_precision: inputs are rounded to float32 before they are compared.
        grids: for each feature the thresholds its splits may have, if the library chose them from
            its training inputs before it fitted any tree; empty where it did not.
    """

    trees: tuple[Node, ...] = field(repr=False)
    features: int
    base: Floats
    average: bool = False
    single_precision: bool = False
    grids: tuple[tuple[float, ...], ...] = field(default=(), repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "trees", tuple(self.trees))
        object.__setattr__(self, "base", np.asarray(self.base, dtype=np.float64))
        if not 1 <= len(self.trees) <= MAX_TREES:
            raise ModelError(f"{len(self.trees)} trees: expected 1 to {MAX_TREES}")
        if self.grids and len(self.grids) != self.features:
            raise ModelError(f"{len(self.grids)} grids for {self.features} inputs")
        for tree in self.trees:
            for node in nodes_of(tree):
                if isinstance(node, Split):
                    if not 0 <= node.feature < self.features:
                        raise ModelError(f"a tree reads input {node.feature} of {self.features}")
                elif node.value.shape != self.base.shape:
                    raise ModelError(f"a leaf of {node.value.size} values for {self.outputs}")

    @property
    def outputs(self) -> int:
        """J."""
        return self.base.size

    @property
    def depth(self) -> int:
        """Of the deepest tree."""
        return max(tree.depth for tree in self.trees)

    @property
    def share(self) -> float:
        """What a tree's values are multiplied with."""
        return 1 / len(self.trees) if self.average else 1.0

    def mapped(self, change: Callable[[Floats], Floats]) -> TreeEnsemble:
        """The ensemble with a linear map (J,) -> (J',) of its outputs."""
        trees = tuple(_mapped(tree, change) for tree in self.trees)
        return replace(self, trees=trees, base=change(self.base))

    def values(self, inputs: Floats) -> Floats:
        """Inputs (records, features) to outputs (records, J)."""
        if self.single_precision:
            inputs = inputs.astype(np.float32).astype(np.float64)
        total = np.zeros((len(inputs), self.outputs))
        for tree in self.trees:
            _add_tree(tree, inputs, np.arange(len(inputs)), total)
        return self.base + self.share * total


def nodes_of(tree: Node) -> list[Node]:
    """Every node, the root first."""
    found: list[Node] = []
    waiting = [tree]
    while waiting:
        node = waiting.pop()
        found.append(node)
        if isinstance(node, Split):
            waiting += [node.right, node.left]
    return found


def leaves_of(tree: Node) -> list[Leaf]:
    """Every leaf, from left to right."""
    return [node for node in nodes_of(tree) if isinstance(node, Leaf)]


def features_of(tree: Node) -> frozenset[int]:
    """The inputs a tree reads."""
    return frozenset(node.feature for node in nodes_of(tree) if isinstance(node, Split))


def thresholds_of(ensemble: TreeEnsemble) -> tuple[tuple[float, ...], ...]:
    """For each input what the trees compare it with, ascending."""
    found: list[set[float]] = [set() for _ in range(ensemble.features)]
    for tree in ensemble.trees:
        for node in nodes_of(tree):
            if isinstance(node, Split):
                found[node.feature].add(node.threshold)
    return tuple(tuple(sorted(thresholds)) for thresholds in found)


def require_leaf_values(nodes: int, outputs: int) -> None:
    """Raises ModelError: so many nodes and outputs, as a file states them, are not allocated."""
    if outputs < 1 or max(nodes, 1) * outputs > MAX_LEAF_VALUES:
        raise ModelError(
            f"{nodes} nodes of trees with {outputs} outputs: expected at least one output, and at "
            f"most {MAX_LEAF_VALUES} values of leaves"
        )


def tree_of_arrays(
    left: Sequence[int],
    right: Sequence[int],
    features: Sequence[int],
    thresholds: Sequence[float],
    leaves: Floats,
    *,
    root: int = 0,
) -> Node:
    """A tree from one entry per node: children (negative at a leaf), tests, leaf values (nodes, J).

    Raises:
        ModelError: no tree: a child that there is not, or one with two parents, or too deep.
    """
    count = len(left)
    if not count == len(right) == len(features) == len(thresholds) == len(leaves):
        raise ModelError("a tree's arrays differ in length")
    if not 0 <= root < count:
        raise ModelError("a tree without its root")
    order, waiting = [], [root]
    reached = set(waiting)
    while waiting:
        node = waiting.pop()
        order.append(node)
        if left[node] < 0:
            continue
        for child in (int(left[node]), int(right[node])):
            if not 0 <= child < count or child in reached:
                raise ModelError("a tree's children do not form a tree")
            reached.add(child)
            waiting.append(child)
    built: dict[int, Node] = {}
    for node in reversed(order):  # children before parents
        if left[node] < 0:
            built[node] = Leaf(leaves[node])
        else:
            below = built.pop(int(left[node])), built.pop(int(right[node]))
            built[node] = Split(int(features[node]), float(thresholds[node]), *below)
    return built[root]


def below_in_single_precision(threshold: Any) -> float:  # noqa: ANN401
    """The largest float32 below: x < t is x <= this for every x of single precision."""
    return float(np.nextafter(np.float32(threshold), np.float32(-np.inf)))


def _mapped(tree: Node, change: Callable[[Floats], Floats]) -> Node:
    if isinstance(tree, Leaf):
        return Leaf(change(tree.value))
    below = _mapped(tree.left, change), _mapped(tree.right, change)
    return Split(tree.feature, tree.threshold, *below)


def _add_tree(tree: Node, inputs: Floats, records: Rows, total: Floats) -> None:
    """Add a tree's values to the rows of these records."""
    if isinstance(tree, Leaf):
        total[records] += tree.value
        return
    left = inputs[records, tree.feature] <= tree.threshold
    for below, chosen in ((tree.left, records[left]), (tree.right, records[~left])):
        if chosen.size:
            _add_tree(below, inputs, chosen, total)
