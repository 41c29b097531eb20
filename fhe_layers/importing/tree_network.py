"""Networks that compute trees over bits, without a word on which comparisons they use.

Trees that read one column each are a sum over single bits, whatever their depth: one dense layer.

Others are completed to a full tree of the ensemble's depth d, by splits that decide nothing, so
that layers show T and d and no more. The bit of each inner node is chosen in private among all
encoded units. A tree is then a polynomial in the bits of its own nodes, with the leaves l and r of
a node of bit b as l + (r - l) b from the bottom up: for d = 3, nodes numbered as in a heap,

    degree 1: 0, 1, 3        degree 2: 01 02 03 05 13 14        degree 3: 013 014 025 026

Which products occur is the same for all trees: public gathers bring their factors together, and
one private dense layer for each degree has the coefficients. Where all splits of a level are one,
in every tree, the d levels take the places of the nodes: fewer choices, all products.

Choosing a bit among K takes K integers; in two steps, its column among C and then its edge among M,
C + M.

Symbols: T trees, d depth, J outputs, K encoded units, C columns, M edges a column; n nodes whose
bits are chosen, 2^d - 1 or d. Node i of tree t is unit i T + t.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.tree_ensembles import Node, Split, TreeEnsemble, nodes_of
from fhe_layers.spec import (
    AddSpec,
    DenseSpec,
    GatherSpec,
    GroupedSelectionSpec,
    LayerSpec,
    MulSpec,
    NetworkSpec,
    SelectionSpec,
)
from protocol.errors import ModelError
from protocol.families import MAX_INTEGERS
from protocol.features import Column, Thermometer
from protocol.layers import MAX_UNITS

Floats = npt.NDArray[np.float64]

MAX_DEPTH = 3
"""A product of four bits does not fit the rings that SEAL has, beside private weights."""

Product: TypeAlias = tuple[int, ...]
"""The nodes whose bits are multiplied, ascending; () is the constant."""


class Formulation(StrEnum):
    """How trees are computed."""

    ADDITIVE = "additive"
    OBLIVIOUS = "oblivious"
    PATHS = "paths"


@dataclass(frozen=True, eq=False)
class TreeNetwork:
    """A network over encoded units.

    Attributes:
        network: the layers.
        formulation: which of the three.
        depth: of the completed trees; 1 if additive.
        factored: whether bits are chosen in two steps.
    """

    network: NetworkSpec = field(repr=False)
    formulation: Formulation
    depth: int
    factored: bool = False


def tree_network(ensemble: TreeEnsemble, columns: Sequence[Column]) -> TreeNetwork:
    """The cheapest network of an ensemble over the encoded units of these columns.

    Raises:
        ModelError: too deep, or more than one model holds; the message says what to change.
    """
    owners = np.repeat(np.arange(len(columns)), [column.inputs for column in columns])
    if all(len(_columns_of(tree, owners)) <= 1 for tree in ensemble.trees):
        return TreeNetwork(_additive(ensemble, columns, owners), Formulation.ADDITIVE, 1)
    if ensemble.depth > MAX_DEPTH:
        raise ModelError(
            f"trees of depth {ensemble.depth}: at most {MAX_DEPTH} splits one after the other fit "
            f"an encryption. Train with max_depth={MAX_DEPTH} and more trees, or with boosted "
            "stumps (max_depth=1), which are a linear model here and much the cheapest"
        )
    if ensemble.features > MAX_UNITS:
        raise ModelError(
            f"{ensemble.features} comparisons, a network takes {MAX_UNITS}: offer fewer edges, or "
            "leave columns out that the trees hardly use"
        )
    return _Circuit(ensemble, columns).finished()


# ------------------------------------------------------------------------------------- no product


def _additive(
    ensemble: TreeEnsemble, columns: Sequence[Column], owners: npt.NDArray[np.int64]
) -> NetworkSpec:
    """One dense layer: what each tree adds where its column goes from one cell to the next."""
    weights = np.zeros((ensemble.outputs, ensemble.features))
    bias = ensemble.base.copy()
    firsts = np.searchsorted(owners, np.arange(len(columns)))
    for tree in ensemble.trees:
        read = _columns_of(tree, owners)
        if not read:
            bias += ensemble.share * _value(tree, frozenset())
            continue
        (place,) = read
        first, units = int(firsts[place]), columns[place].inputs
        if isinstance(columns[place], Thermometer):
            cells = [_value(tree, range(first, first + count)) for count in range(units + 1)]
            bias += ensemble.share * cells[0]
            steps = np.diff(np.array(cells), axis=0)
        else:
            cells = [_value(tree, [unit]) for unit in range(first, first + units)]
            mean = np.mean(cells, axis=0)
            bias += ensemble.share * mean
            steps = np.array(cells) - mean
        weights[:, first : first + units] += ensemble.share * steps.T
    return NetworkSpec((ensemble.features,), (DenseSpec(weights, bias),))


def _columns_of(tree: Node, owners: npt.NDArray[np.int64]) -> set[int]:
    return {int(owners[node.feature]) for node in nodes_of(tree) if isinstance(node, Split)}


def _value(tree: Node, ones: Iterable[int]) -> Floats:
    """What a tree says where just these units are 1."""
    ones = frozenset(ones)
    while isinstance(tree, Split):
        tree = tree.right if tree.feature in ones else tree.left
    return tree.value


# -------------------------------------------------------------------------------------- products


class _Circuit:
    """Builds the layers of an ensemble of depth 2 or 3."""

    def __init__(self, ensemble: TreeEnsemble, columns: Sequence[Column]) -> None:
        self._ensemble = ensemble
        self._count = len(ensemble.trees)
        self._layers: list[LayerSpec] = []
        self._channels = _channels(columns)
        self._oblivious = all(
            len(units) <= 1
            for tree in ensemble.trees
            for units in _level_units(tree, ensemble.depth)
        )

    def finished(self) -> TreeNetwork:
        """The network.  Raises ModelError: it does not fit."""
        depth = self._ensemble.depth
        nodes = depth if self._oblivious else 2**depth - 1
        polynomials = [_polynomial(tree, depth, self._number) for tree in self._ensemble.trees]
        products = sorted(polynomials[0], key=lambda product: (len(product), product))
        degrees = [[p for p in products if len(p) == size] for size in range(2, depth + 1)]
        factored = self._choose_factored(nodes, nodes + sum(map(len, degrees)))
        chosen = [self._units(tree, nodes) for tree in self._ensemble.trees]
        bits = self._chosen([units[node] for node in range(nodes) for units in chosen], factored)
        singles: list[Product] = [(node,) for node in range(nodes)]
        tensors = [(bits, singles)]
        for wanted in degrees:
            below, had = tensors[-1]
            left = self._gathered(below, [had.index(product[:-1]) for product in wanted])
            right = self._gathered(bits, [product[-1] for product in wanted])
            tensors.append((self._emit(MulSpec(left, right)), wanted))
        self._weigh(tensors, polynomials)
        return TreeNetwork(
            NetworkSpec((self._ensemble.features,), tuple(self._layers)),
            Formulation.OBLIVIOUS if self._oblivious else Formulation.PATHS,
            depth,
            factored,
        )

    def _emit(self, layer: LayerSpec) -> int:
        self._layers.append(layer)
        return len(self._layers)

    # ------------------------------------------------------------------------- private choices

    def _number(self, level: int, position: int) -> int:
        """Of a node: its level's, or its own as in a heap."""
        return level if self._oblivious else 2**level - 1 + position

    def _units(self, tree: Node, nodes: int) -> list[int]:
        """The unit that each node of a tree tests; 0 where it tests none."""
        units = [0] * nodes
        waiting: list[tuple[Node, int, int]] = [(tree, 0, 0)]
        while waiting:
            node, level, position = waiting.pop()
            if isinstance(node, Split):
                units[self._number(level, position)] = node.feature
                waiting.append((node.left, level + 1, 2 * position))
                waiting.append((node.right, level + 1, 2 * position + 1))
        return units

    def _choose_factored(self, nodes: int, terms: int) -> bool:
        """Whether bits must be chosen in two steps.  Raises ModelError: neither way fits."""
        ensemble, places = self._ensemble, self._channels
        biases = ensemble.depth * ensemble.outputs
        each = terms * ensemble.outputs  # coefficients of a tree
        direct = nodes * ensemble.features + each
        steps = nodes * (places.channels + places.positions) + each
        if self._count * direct + biases <= MAX_INTEGERS:
            return False
        widest = MAX_UNITS // (nodes * places.positions)
        fitting = min((MAX_INTEGERS - biases) // steps, widest)
        if self._count <= fitting:
            return True
        raise ModelError(
            f"{self._count} trees of depth {ensemble.depth} over {ensemble.features} comparisons "
            f"are more than one model holds: use at most {fitting} trees, fewer edges or columns, "
            "or boosted stumps, of which there may be any number"
        )

    def _chosen(self, units: Sequence[int], factored: bool) -> int:
        """The tensor of these bits."""
        if not factored:
            return self._emit(SelectionSpec(tuple(units), 0))
        source = 0 if self._channels.uniform else self._emit(GatherSpec(self._channels.order, 0))
        places = [self._channels.place(unit) for unit in units]
        channels = tuple(channel for channel, _ in places)
        columns = self._emit(SelectionSpec(channels, source, self._channels.positions))
        return self._emit(GroupedSelectionSpec(tuple(place for _, place in places), columns))

    # -------------------------------------------------------------------------------- products

    def _gathered(self, tensor: int, parts: Sequence[int]) -> int:
        """These parts of a tensor, one after the other; a part has a unit for each tree."""
        trees = range(self._count)
        units = tuple(part * self._count + tree for part in parts for tree in trees)
        return self._emit(GatherSpec(units, tensor))

    def _weigh(
        self,
        tensors: Sequence[tuple[int, Sequence[Product]]],
        polynomials: Sequence[dict[Product, Floats]],
    ) -> None:
        """A dense layer on every tensor, and their sum."""
        ensemble = self._ensemble
        nothing = np.zeros(ensemble.outputs)
        bias = ensemble.base + ensemble.share * sum(found[()] for found in polynomials)
        total = 0
        for tensor, products in tensors:
            rows = [found.get(product, nothing) for product in products for found in polynomials]
            weights = ensemble.share * np.array(rows).T
            weighed = self._emit(DenseSpec(weights, nothing if total else bias, tensor))
            total = self._emit(AddSpec(total, weighed)) if total else weighed


def _polynomial(tree: Node, depth: int, number: Callable[[int, int], int]) -> dict[Product, Floats]:
    """Coefficients (J,) of a tree completed to this depth, by the nodes multiplied, ascending.

    Args:
        tree: over bits.
        depth: of the complete tree; its products are the same for all trees.
        number: of the node at (level, position).
    """

    def below(node: Node, level: int, position: int) -> dict[Product, Floats]:
        if level == depth:
            return {(): _value(node, ())}
        pair = (node.left, node.right) if isinstance(node, Split) else (node, node)
        left, right = (
            below(child, level + 1, 2 * position + side) for side, child in enumerate(pair)
        )
        found = dict(left)
        bit = number(level, position)
        for product in left.keys() | right.keys():
            zero = np.zeros_like(left[()])
            found[(bit, *product)] = right.get(product, zero) - left.get(product, zero)
        return found

    return below(tree, 0, 0)


def _level_units(tree: Node, depth: int) -> list[set[int]]:
    """The units tested at every level."""
    found: list[set[int]] = [set() for _ in range(depth)]
    waiting: list[tuple[Node, int]] = [(tree, 0)]
    while waiting:
        node, level = waiting.pop()
        if isinstance(node, Split):
            found[level].add(node.feature)
            waiting += [(node.left, level + 1), (node.right, level + 1)]
    return found


@dataclass(frozen=True)
class _Channels:
    """Encoded units as channels of M positions, the last of a column repeated to fill one.

    Attributes:
        positions: M.
        order: the encoded unit of each, channel by channel.
    """

    positions: int
    order: tuple[int, ...]

    @property
    def channels(self) -> int:
        """How many."""
        return len(self.order) // self.positions

    @property
    def uniform(self) -> bool:
        """Whether that is how units come anyway."""
        return self.order == tuple(range(len(self.order)))

    def place(self, unit: int) -> tuple[int, int]:
        """(channel, position) of an encoded unit."""
        return divmod(self.order.index(unit), self.positions)


def _channels(columns: Sequence[Column]) -> _Channels:
    """The M for which a choice takes the fewest integers."""
    best: _Channels | None = None
    for positions in sorted({column.inputs for column in columns}):
        order: list[int] = []
        first = 0
        for column in columns:
            units = list(range(first, first + column.inputs))
            first += column.inputs
            order += units + units[-1:] * (-len(units) % positions)
        candidate = _Channels(positions, tuple(order))
        if best is None or (
            candidate.channels + candidate.positions < best.channels + best.positions
        ):
            best = candidate
    if best is None:
        raise ModelError("trees over a table without columns")
    return best
