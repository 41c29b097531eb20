"""Encoders and discretisers: whatever turns one column's value into numbers by a table.

The client sends which category or interval a value is in. What the encoder makes of each is asked
of the encoder itself, one probe for each, so that its options (dropped, rare and unknown
categories, target means) need no second implementation here.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.affine import Above, AffineMap, Indicator, ScaledNumber, Text, Unit
from fhe_layers.importing.estimator_data import Cells, assembled, dense, names_of
from fhe_layers.importing.imported import Treatment, UnsupportedModelError
from fhe_layers.importing.sklearn_classes import Fitted, Walk
from fhe_layers.importing.table import Table, is_missing

Floats: TypeAlias = npt.NDArray[np.float64]


ROUNDING = 1e-12
"""Relative, of a scaled column: a value of the sample this close to an edge is the edge."""


@dataclass(frozen=True)
class Steps:
    """Where the result of a transformer changes, in one of the features it is given.

    Attributes:
        edges: ascending; the result changes where the feature passes one of them.
        upward: whether an edge itself belongs to what is above it.
        probes: one value between each two edges, and one on either side: one more than edges.
    """

    edges: tuple[float, ...]
    upward: bool
    probes: tuple[float, ...]


@dataclass(frozen=True)
class _Asked:
    """One feature: the values to ask for, and which units say that a value is the one.

    Attributes:
        probes: values, the feature's first one being where the others are asked from.
        units: for categories one for each probe; for intervals one for each but the first.
        idle: a unit of a column that has one interval only: it has no say.
    """

    probes: Cells
    units: tuple[Unit, ...]
    idle: Unit | None = None

    @property
    def cumulative(self) -> bool:
        """Whether units add up, as edges that are passed do."""
        return len(self.units) < len(self.probes)

    def weights(self, results: Floats) -> tuple[Floats, Floats]:
        """Results at the probes (probes, F) to weights (F, units) and constants (F,)."""
        if self.cumulative:
            return np.diff(results, axis=0).T, results[0]
        return results.T, np.zeros(results.shape[1])


def read_category_encoder(
    encoder: Fitted,
    given: AffineMap,
    where: str,
    walk: Walk,
) -> AffineMap:
    """One-hot, ordinal and target encoders."""
    asked = []
    for feature, categories in enumerate(encoder.categories_):
        text = given.as_text(feature)
        if text is not None:
            asked.append(_asked_texts(text, categories, encoder, where, walk))
        else:
            _require_listed(given, feature, categories, encoder=encoder, where=where, walk=walk)
            asked.append(
                _asked_steps(
                    given,
                    feature,
                    _steps_of_numbers(categories, encoder, where),
                    transformer=encoder,
                    where=where,
                    table=walk.table,
                )
            )
    walk.add(
        where,
        encoder,
        Treatment.CLIENT,
        "clients send one input for each category, and refuse a category the card does not list",
    )
    return _tabulated(encoder, asked, where)


def read_discretiser(
    discretiser: Fitted,
    given: AffineMap,
    where: str,
    walk: Walk,
) -> AffineMap:
    """KBinsDiscretizer: bins start at their lower edge."""
    asked = []
    for feature, edges in enumerate(discretiser.bin_edges_):
        inner = tuple(map(float, edges[1:-1]))
        first = math.nextafter(inner[0], -math.inf) if inner else 0.0
        asked.append(
            _asked_steps(
                given,
                feature,
                Steps(inner, True, (first, *inner)),
                transformer=discretiser,
                where=where,
                table=walk.table,
            )
        )
    walk.add(where, discretiser, Treatment.CLIENT, "clients compare with the edges of the bins")
    return _tabulated(discretiser, asked, where)


def read_binariser(
    binariser: Fitted,
    given: AffineMap,
    where: str,
    walk: Walk,
) -> AffineMap:
    """Binarizer: above its threshold or not."""
    edge = float(binariser.threshold)
    steps = Steps((edge,), False, (edge, math.nextafter(edge, math.inf)))
    asked = [
        _asked_steps(given, feature, steps, transformer=binariser, where=where, table=walk.table)
        for feature in range(given.features)
    ]
    walk.add(where, binariser, Treatment.CLIENT, "clients compare with the threshold")
    return _tabulated(binariser, asked, where)


def _asked_texts(
    text: Text, categories: Sequence[Any], encoder: object, where: str, walk: Walk
) -> _Asked:
    """Every text of the sample and of the encoder.  Raises UnsupportedModelError."""
    name = walk.table.names[text.column]
    if any(is_missing(category) for category in categories):
        if text.missing is None:
            raise UnsupportedModelError(
                where,
                type(encoder).__name__,
                f"it treats a missing value of column '{name}' as a category without a name",
                "SimpleImputer(strategy='constant', fill_value='missing') before it",
            )
        categories = [category for category in categories if not is_missing(category)]
    listed = walk.table.categories[text.column] or ()
    extra = {*map(str, categories), *(() if text.missing is None else (text.missing,))}
    texts = (*listed, *sorted(extra.difference(listed)))
    probes = np.empty(len(texts), dtype=object)
    probes[:] = texts
    return _Asked(
        probes, tuple(Indicator(text.column, category, text.missing) for category in texts)
    )


def _steps_of_numbers(categories: Sequence[Any], encoder: object, where: str) -> Steps:
    """Numbers as categories: a value counts as the nearest.  Raises UnsupportedModelError."""
    if any(isinstance(category, str) or is_missing(category) for category in categories):
        raise UnsupportedModelError(
            where,
            type(encoder).__name__,
            "its categories of one column are neither all texts nor all numbers",
            "SimpleImputer before it, and one type of value in each column",
        )
    values = sorted(map(float, categories))
    edges = tuple((left + right) / 2 for left, right in pairwise(values))
    return Steps(edges, False, tuple(values))


def _require_listed(
    given: AffineMap,
    feature: int,
    categories: Sequence[Any],
    *,
    encoder: object,
    where: str,
    walk: Walk,
) -> None:
    """Raises UnsupportedModelError: the sample has numbers which are none of the categories.

    Clients count such a number as the nearest category, which no encoder does.
    """
    number = given.as_number(feature)
    if number is None or any(isinstance(category, str) for category in categories):
        return  # refused for what it is
    sample = walk.table.values[:, number.unit.column]
    values = number.factor * np.unique(sample[~np.isnan(sample)]) + number.offset
    known = np.sort([float(category) for category in categories if not is_missing(category)])
    if not known.size:
        return
    room = ROUNDING * (abs(number.offset) + np.abs(known).max(initial=1.0))
    above = np.searchsorted(known, values).clip(0, known.size - 1)
    distances = np.minimum(
        np.abs(values - known[above]), np.abs(values - known[np.maximum(above - 1, 0)])
    )
    if (distances > room).any():
        raise UnsupportedModelError(
            where,
            type(encoder).__name__,
            f"column '{walk.table.names[number.unit.column]}' of the sample has numbers that are "
            "none of its categories, and clients count a number as the nearest of them",
            "the column as texts, or a sample with categories that it was fitted on",
        )


def _asked_steps(
    given: AffineMap,
    feature: int,
    steps: Steps,
    *,
    transformer: object,
    where: str,
    table: Table,
) -> _Asked:
    """The edges of one number, on the column's own scale.  Raises UnsupportedModelError."""
    number = given.as_number(feature)
    if number is None or not number.factor > 0:
        raise UnsupportedModelError(
            where,
            type(transformer).__name__,
            "clients can only compare a column's own number",
            "this step directly on columns, before projections and products",
        )
    sample = table.values[:, number.unit.column]
    units = tuple(_above(number, edge, steps.upward, sample) for edge in steps.edges)
    # Above all that the sample has: where nothing is asked of a column, it is still the model's.
    unasked = float(np.nanmax(sample)) if not units and not np.isnan(sample).all() else None
    idle = None if unasked is None else Above(number.unit.column, unasked, number.unit.missing)
    return _Asked(np.array(steps.probes), units, idle)


def _above(number: ScaledNumber, edge: float, upward: bool, sample: Floats) -> Above:
    """Whether a column exceeds an edge that is stated on the feature's scale."""
    raw = number.raw(edge)
    # Edges learned of scaled data are often values of the data, which rounding would move.
    rounding = ROUNDING * (abs(number.offset) + abs(edge)) / number.factor
    near = sample[np.abs(sample - raw) <= rounding]
    if near.size and (number.factor, number.offset) != (1.0, 0.0):
        raw = float(near[np.abs(near - raw).argmin()])
    if upward:  # at least the edge is more than the double below it
        raw = math.nextafter(raw, -math.inf)
    return Above(number.unit.column, raw, number.unit.missing)


def _tabulated(transformer: Fitted, asked: Sequence[_Asked], where: str) -> AffineMap:
    """Ask for every value of every feature, the others at their first."""
    records = sum(len(feature.probes) for feature in asked)
    columns: list[Cells] = []
    starts = np.cumsum([0, *(len(feature.probes) for feature in asked)])
    for feature, start in zip(asked, starts, strict=False):
        cells = np.empty(records, dtype=feature.probes.dtype)
        cells[:] = feature.probes[0]
        cells[start : start + len(feature.probes)] = feature.probes
        columns.append(cells)
    results = _ask(
        transformer.transform, assembled(columns, names_of(transformer)), transformer, where
    )
    if not np.isfinite(results).all():
        raise UnsupportedModelError(
            where,
            type(transformer).__name__,
            "its result for an unknown category is no number",
            "unknown_value=-1, or a sample with categories that it was fitted on",
        )
    base = results[0]
    terms: dict[tuple[Unit, ...], int] = {}
    for feature in asked:
        for unit in (*feature.units, *([feature.idle] if feature.idle is not None else [])):
            terms.setdefault((unit,), len(terms))
    matrix = np.zeros((results.shape[1], len(terms)))
    offset = base.copy()
    for feature, start in zip(asked, starts, strict=False):
        own = results[start : start + len(feature.probes)]
        mine = np.flatnonzero((own != base).any(axis=0))  # of no other feature: a table each
        weights, constants = feature.weights(own[:, mine])
        places = [terms[(unit,)] for unit in feature.units]
        matrix[mine[:, None], places] = weights
        offset[mine] = constants
    return AffineMap(tuple(terms), matrix, offset)


def _ask(
    transform: Callable[[Any], Any],
    probes: object,
    transformer: object,
    where: str,
) -> Floats:
    """Raises UnsupportedModelError: the encoder refuses what the sample has."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of unknown categories, which it is asked on purpose
        try:
            return dense(transform(probes))
        except ValueError:  # whose words show values of the sample
            raise UnsupportedModelError(
                where,
                type(transformer).__name__,
                "it refuses unknown categories, which the sample has",
                "a sample with categories that it was fitted on, or handle_unknown='ignore'",
            ) from None
