"""Public comparisons, and private thresholds among them.

Clients compare each column with public edges, quantiles of the sample: they depend on no model.
Every threshold of a tree becomes the edge that sends the fewest records of the sample to the wrong
side, or none at all where that misplaces fewer. A tree over the table becomes one over the encoded
units of the card, each 0 or 1, which is what encrypted evaluation computes exactly.

Symbols: C columns of the table, K encoded units.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.calibration import category_column, number_column
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from fhe_layers.importing.tree_ensembles import Leaf, Node, Split, TreeEnsemble
from protocol.errors import ModelError, ShapeError
from protocol.features import MAX_EDGES, Column, Thermometer

Floats: TypeAlias = npt.NDArray[np.float64]
Mask: TypeAlias = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class RawInput:
    """An input of a tree that is made of one number of the table.

    Attributes:
        column: of the table.
        factor, offset: x = factor * raw + offset, factor nonzero.
        edges: ascending; if given, x is the number of edges below raw instead.
        missing: the raw value that stands for a missing one; None: there are none.
    """

    column: int
    factor: float = 1.0
    offset: float = 0.0
    edges: tuple[float, ...] | None = None
    missing: float | None = None

    def __post_init__(self) -> None:
        if not (self.factor and np.isfinite(self.factor) and np.isfinite(self.offset)):
            raise ModelError("an input of a tree is a multiple of a column, and not by zero")

    def values(self, raw: Floats) -> Floats:
        """Raw values of the column (records,) to the input's."""
        if self.missing is not None:
            raw = np.where(np.isnan(raw), self.missing, raw)
        if self.edges is not None:
            below: Floats = np.searchsorted(np.array(self.edges), raw).astype(np.float64)
            return below
        scaled: Floats = self.factor * raw + self.offset
        return scaled


@dataclass(frozen=True)
class IndicatorInput:
    """An input that is 1 where a column of texts has one of its categories, else 0.

    Attributes:
        column: of the table.
        category: an index into the table's categories of this column.
        missing: the index of the category that stands for a missing value.
    """

    column: int
    category: int
    missing: int | None = None

    def values(self, raw: Floats) -> Floats:
        """Raw values of the column (records,) to the input's."""
        if self.missing is not None:
            raw = np.where(np.isnan(raw), float(self.missing), raw)
        chosen: Floats = (raw == self.category).astype(np.float64)
        return chosen


TreeInput: TypeAlias = RawInput | IndicatorInput


def tree_inputs(inputs: Sequence[TreeInput], raw: Floats) -> Floats:
    """What trees read (records, inputs) of a table's raw values (records, C)."""
    return np.column_stack([item.values(raw[:, item.column]) for item in inputs])


def quantile_edges(values: Floats, count: int) -> tuple[float, ...]:
    """At most `count` midpoints of neighbouring values, as close to quantiles as there are any.

    A constant column gets the constant itself.
    """
    distinct, repeats = np.unique(values, return_counts=True)
    if len(distinct) == 1:
        return (float(distinct[0]),)
    lower, upper = distinct[:-1], distinct[1:]
    middle = lower / 2 + upper / 2
    middle = np.where((lower <= middle) & (middle < upper), middle, lower)
    if len(middle) <= count:
        return tuple(middle.tolist())
    below = np.cumsum(repeats)[:-1]  # records under each midpoint
    chosen: list[int] = []
    for index in range(count):
        wanted = (index + 1) * len(values) / (count + 1)
        # Enough midpoints stay for the edges that follow.
        first = chosen[-1] + 1 if chosen else 0
        last = len(middle) - (count - index)
        chosen.append(first + int(np.abs(below[first : last + 1] - wanted).argmin()))
    return tuple(middle[chosen].tolist())


def comparison_columns(
    inputs: Sequence[TreeInput],
    table: Table,
    options: ImportOptions,
    edges: int,
    grids: Sequence[tuple[float, ...]] = (),
) -> tuple[Column, ...]:
    """Every column that is not local, with at most so many edges, or its categories.

    Args:
        inputs: of the trees.
        table: the sample.
        options: ranges, privacy, local columns.
        edges: of a column; one that the input itself has a grid for has all of these.
        grids: of the inputs, such as `TreeEnsemble.grids`: used where no longer than `edges`.

    Raises:
        ModelError: a column that trees cannot read, or which no input reads.
        InputError: the sample leaves a range given.
    """
    readers: dict[int, list[TreeInput]] = {}
    known: dict[int, set[float]] = {}
    for position, item in enumerate(inputs):
        if not 0 <= item.column < len(table.names):
            raise ShapeError(f"the trees read column {item.column} of {len(table.names)}")
        readers.setdefault(item.column, []).append(item)
        if grids and isinstance(item, RawInput) and item.edges is None:
            raw = ((edge - item.offset) / item.factor for edge in grids[position])
            known.setdefault(item.column, set()).update(raw)
    local = {index for index, name in enumerate(table.names) if name in options.local}
    kept = [index for index in range(len(table.names)) if index not in local]
    unread = [table.names[index] for index in kept if index not in readers]
    if unread:
        raise ModelError(
            f"the model does not read column '{unread[0]}'"
            + (f" and {len(unread) - 1} others" if len(unread) > 1 else "")
            + " of the sample: leave it out, or make it local"
        )
    lost = [table.names[index] for index in readers if index in local]
    if lost:
        raise ModelError(f"the model reads column '{lost[0]}', which is local")
    return tuple(
        _column(readers[index], table, options, edges, known.get(index, set())) for index in kept
    )


def _column(
    readers: list[TreeInput],
    table: Table,
    options: ImportOptions,
    edges: int,
    known: set[float],
) -> Column:
    """How clients encode one column.  Raises ModelError, InputError."""
    column = readers[0].column
    name = table.names[column]
    indicators = [item for item in readers if isinstance(item, IndicatorInput)]
    if indicators:
        if len(indicators) < len(readers):
            raise ModelError(f"trees read column '{name}' both as a number and as categories")
        stands = indicators[0].missing
        texts = table.categories[column]
        missing = None if stands is None or texts is None else texts[stands]
        return category_column(table, column, options, missing)
    if table.categories[column] is not None:
        raise ModelError(f"column '{name}' of the sample has texts, the trees want numbers")
    numbers = [item for item in readers if isinstance(item, RawInput)]
    missing_values = {item.missing for item in numbers}
    grids = {item.edges for item in numbers}
    if len(missing_values) > 1 or len(grids) > 1:
        raise ModelError(f"trees read column '{name}' in several ways: give it to them once")
    (stand_in,), (grid,) = missing_values, grids
    number = number_column(table, column, options, stand_in)
    values = table.values[:, column]
    if stand_in is None and np.isnan(values).any():
        raise ModelError(
            f"column '{name}' of the sample has missing values, and trees have no branch for them: "
            "put an imputer before the trees"
        )
    present = values if stand_in is None else np.where(np.isnan(values), stand_in, values)
    if grid is None and 0 < len(known) <= edges:
        grid = tuple(known)
    if grid is None:
        offered = quantile_edges(present, edges)
    else:
        offered = tuple(edge for edge in sorted(set(grid)) if number.low <= edge < number.high)
        offered = offered or quantile_edges(present, 1)
        if len(offered) > MAX_EDGES:
            raise ModelError(f"column '{name}' has {len(offered)} bins, at most {MAX_EDGES + 1}")
    return Thermometer(
        name,
        number.low,
        number.high,
        offered,
        privacy=number.privacy,
        missing=number.missing,
        measured_in=number.measured_in,
    )


def unit_offsets(columns: Sequence[Column]) -> list[int]:
    """The first encoded unit of each column, and K."""
    offsets = [0]
    for column in columns:
        offsets.append(offsets[-1] + column.inputs)
    return offsets


@dataclass(frozen=True, eq=False)
class _Comparisons:
    """What the tests of one input may become: encoded units, compared on the sample.

    Attributes:
        item: the input.
        column: which it reads, and the first of its encoded units.
        values: the input on the sample, (records,).
        cells: how many of the units that may stand for its tests are 1, on the sample: (records,).
    """

    item: TreeInput
    column: Column
    first: int
    values: Floats = field(repr=False)
    cells: npt.NDArray[np.int64] = field(repr=False)

    @property
    def flipped(self) -> bool:
        """Whether the input falls where the column rises."""
        return isinstance(self.item, RawInput) and self.item.edges is None and self.item.factor < 0

    @property
    def edges(self) -> Floats:
        """Raw values at which the units change; of a category anything."""
        return np.array(self.column.edges if isinstance(self.column, Thermometer) else (0.5,))

    @property
    def tested(self) -> int:
        """The first unit that may stand for a test."""
        return self.first + (self.item.category if isinstance(self.item, IndicatorInput) else 0)

    def raw_threshold(self, threshold: float) -> float:
        """x > threshold is, or is not, raw > this; infinite if it holds always or never."""
        if isinstance(self.item, IndicatorInput):
            return 0.5 if 0 <= threshold < 1 else float(np.copysign(np.inf, threshold))
        grid = self.item.edges
        if grid is None:
            return (threshold - self.item.offset) / self.item.factor
        if threshold < 0:
            return -np.inf
        return grid[int(threshold)] if threshold < len(grid) else np.inf

    def implied(self, unit: int, bit: bool) -> dict[int, bool]:
        """What one unit says of its column's others."""
        units = range(self.first, self.first + self.column.inputs)
        if isinstance(self.column, Thermometer):
            return {other: bit for other in units if (other <= unit if bit else other >= unit)}
        return {other: other == unit for other in units} if bit else {unit: False}


def snapped_ensemble(
    ensemble: TreeEnsemble,
    inputs: Sequence[TreeInput],
    columns: Sequence[Column],
    table: Table,
) -> TreeEnsemble:
    """The ensemble over encoded units: its splits are "unit <= 1/2 goes left".

    Args:
        ensemble: over `inputs`.
        inputs: how it reads the table.
        columns: from `comparison_columns`.
        table: the sample.
    """
    read = tree_inputs(inputs, table.values)
    if ensemble.single_precision:
        read = read.astype(np.float32).astype(np.float64)
    offsets = unit_offsets(columns)
    places = {column.name: place for place, column in enumerate(columns)}
    comparisons = []
    for position, item in enumerate(inputs):
        place = places[table.names[item.column]]
        column, values = columns[place], read[:, position]
        raw = table.values[:, item.column]
        if isinstance(item, RawInput):
            raw = raw if item.missing is None else np.where(np.isnan(raw), item.missing, raw)
            cells = column.encode(raw).sum(axis=1).astype(np.int64)
        else:
            cells = (values > 0).astype(np.int64)
        comparisons.append(_Comparisons(item, column, offsets[place], values, cells))
    everyone = np.ones(table.records, dtype=np.bool_)
    trees = tuple(_snapped(tree, comparisons, everyone, {}) for tree in ensemble.trees)
    return replace(ensemble, trees=trees, features=offsets[-1], single_precision=False, grids=())


def _snapped(
    tree: Node,
    comparisons: Sequence[_Comparisons],
    reached: Mask,
    known: Mapping[int, bool],
) -> Node:
    """The tree over encoded units, without the splits that those above them settle.

    Args:
        tree: over inputs.
        comparisons: one per input.
        reached: the records of the sample that come here, (records,).
        known: encoded units, by the splits above.
    """
    if isinstance(tree, Leaf):
        return tree
    comparison = comparisons[tree.feature]
    right = comparison.values > tree.threshold
    unit, bit = _nearest(comparison, tree.threshold, right, reached)
    if unit is not None:
        bit = known.get(unit)
    if unit is None or bit is not None:
        taken = tree.right if bool(bit) != comparison.flipped else tree.left
        return _snapped(taken, comparisons, reached, known)
    below = {}
    for side in (False, True):
        child = tree.right if side != comparison.flipped else tree.left
        here = reached & (right if child is tree.right else ~right)
        below[side] = _snapped(
            child, comparisons, here, {**known, **comparison.implied(unit, side)}
        )
    zero, one = below[False], below[True]
    if isinstance(zero, Leaf) and isinstance(one, Leaf) and (zero.value == one.value).all():
        return zero
    return Split(unit, 0.5, zero, one)


def _nearest(
    comparison: _Comparisons, threshold: float, right: Mask, reached: Mask
) -> tuple[int | None, bool | None]:
    """The encoded unit that stands for a test, or None and the bit that always does.

    Counted are the records misplaced of those that come here, then of all, then the distance.
    """
    raw_threshold = comparison.raw_threshold(threshold)
    if np.isinf(raw_threshold):
        return None, bool(raw_threshold < 0)
    ones = right ^ comparison.flipped
    # Candidates from a bit that is always 1 over the units, in order, to one that is always 0:
    # each has the zeros of the one before, and more.
    here, all_over = (
        _misplaced(comparison.cells[chosen], ones[chosen], len(comparison.edges))
        for chosen in (reached, np.ones_like(reached))
    )
    distances = np.abs(comparison.edges - raw_threshold)
    distances = np.concatenate([[np.inf], distances, [np.inf]])
    best = int(np.lexsort((distances, all_over, here))[0])
    if best in {0, len(distances) - 1}:
        return None, best == 0
    return comparison.tested + best - 1, None


def _misplaced(cells: npt.NDArray[np.int64], ones: Mask, units: int) -> npt.NDArray[np.int64]:
    """How many records each candidate sends to the wrong side.

    What a test makes 0 and what an edge makes 0 are both the records below some value, so that
    they differ by as many as their numbers do.

    Args:
        cells: of the records, from 0 to `units`.
        ones: what the test itself makes of them.
        units: candidates between the two constants.
    """
    zeros = np.concatenate([[0], np.cumsum(np.bincount(cells, minlength=units + 1))])
    misplaced: npt.NDArray[np.int64] = np.abs(zeros - np.count_nonzero(~ones))
    return misplaced
