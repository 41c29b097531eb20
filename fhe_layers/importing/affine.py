"""What columns have become halfway through a pipeline: an affine map of what clients send.

Clients send units: a number scaled to [-1, 1], whether a category is the one it is, whether a
number exceeds an edge; and products of two of them, where the model card lists such. Everything a
scaler, a projection or an encoder does is affine in these terms, so that a pipeline is one matrix.

Symbols: F features at this point of the pipeline, T terms.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from protocol.errors import ModelError, ShapeError
from protocol.features import Feature

Floats: TypeAlias = npt.NDArray[np.float64]

MAX_TERMS = 4096
"""Units of a tensor; more products of features than that no model takes."""


@dataclass(frozen=True)
class Number:
    """A number, scaled as its feature says."""

    column: int
    feature: Feature

    @property
    def missing(self) -> float | None:
        """What stands for a missing value."""
        return self.feature.missing


@dataclass(frozen=True)
class Text:
    """A category that nothing has encoded yet; no number."""

    column: int
    missing: str | None = None


@dataclass(frozen=True)
class Indicator:
    """1 where a column has this category, else 0."""

    column: int
    category: str
    missing: str | None = None


@dataclass(frozen=True)
class Above:
    """1 where a column exceeds this edge, else 0."""

    column: int
    edge: float
    missing: float | None = None


Unit: TypeAlias = Number | Text | Indicator | Above
Term: TypeAlias = tuple[Unit, ...]
"""One unit, or the product of two."""


@dataclass(frozen=True)
class ScaledNumber:
    """factor * raw + offset, where raw is a column's own value."""

    unit: Number
    factor: float
    offset: float

    def raw(self, value: float) -> float:
        """Where it has this value."""
        return (value - self.offset) / self.factor


@dataclass(frozen=True, eq=False)
class AffineMap:
    """matrix @ terms + offset.

    Attributes:
        terms: distinct.
        matrix: float64 (F, T).
        offset: float64 (F,).
    """

    terms: tuple[Term, ...]
    matrix: Floats = field(repr=False)
    offset: Floats = field(repr=False)

    @property
    def features(self) -> int:
        """F."""
        return len(self.offset)

    @property
    def columns(self) -> frozenset[int]:
        """The table's columns that terms are made of."""
        return frozenset(unit.column for term in self.terms for unit in term)

    @property
    def texts(self) -> tuple[Text, ...]:
        """Categories that nothing has encoded yet."""
        return tuple(unit for term in self.terms for unit in term if isinstance(unit, Text))

    def scaled(self, factor: Floats | float, constant: Floats | float) -> AffineMap:
        """factor * feature + constant, feature by feature."""
        factors = np.broadcast_to(np.asarray(factor, dtype=np.float64), self.offset.shape)
        return replace(
            self, matrix=self.matrix * factors[:, None], offset=self.offset * factors + constant
        )

    def projected(self, weights: Floats, constant: Floats | float = 0.0) -> AffineMap:
        """weights @ features + constant, for weights (J, F)."""
        return replace(self, matrix=weights @ self.matrix, offset=weights @ self.offset + constant)

    def chosen(self, features: Sequence[int]) -> AffineMap:
        """Some of the features; the terms stay, so that a choice shows in weights only."""
        rows = list(features)
        return replace(self, matrix=self.matrix[rows], offset=self.offset[rows])

    def without_unread_terms(self) -> AffineMap:
        """The same features of the terms that they are made of."""
        read = np.flatnonzero(self.matrix.any(axis=0))
        terms = tuple(self.terms[index] for index in read)
        return AffineMap(terms, self.matrix[:, read], self.offset)

    def feature_terms(self, feature: int) -> tuple[tuple[Term, float], ...]:
        """The terms of one feature and their weights."""
        row = self.matrix[feature]
        return tuple((self.terms[index], float(row[index])) for index in np.flatnonzero(row))

    def as_number(self, feature: int) -> ScaledNumber | None:
        """A feature that is one column's number, scaled; None for any other."""
        parts = self.feature_terms(feature)
        if len(parts) != 1 or len(parts[0][0]) != 1:
            return None
        (unit,), weight = parts[0]
        if not isinstance(unit, Number):
            return None
        factor = weight / unit.feature.scale
        offset = float(self.offset[feature]) - factor * unit.feature.centre
        return ScaledNumber(unit, factor, offset)

    def as_text(self, feature: int) -> Text | None:
        """A feature that is a category not encoded yet; None for any other."""
        parts = self.feature_terms(feature)
        unit = parts[0][0][0] if len(parts) == 1 else None
        return unit if isinstance(unit, Text) else None


def identity(units: Sequence[Unit]) -> AffineMap:
    """The raw values themselves: numbers undo their scaling, categories wait for an encoder."""
    numbers = [unit.feature if isinstance(unit, Number) else None for unit in units]
    scales = [1.0 if feature is None else feature.scale for feature in numbers]
    centres = [0.0 if feature is None else feature.centre for feature in numbers]
    return AffineMap(tuple((unit,) for unit in units), np.diag(scales), np.array(centres))


def joined(maps: Sequence[AffineMap]) -> AffineMap:
    """The features of several maps, one after the other."""
    place: dict[Term, int] = {}
    for part in maps:
        for term in part.terms:
            place.setdefault(term, len(place))
    matrix = np.zeros((sum(part.features for part in maps), len(place)))
    start = 0
    for part in maps:
        columns = [place[term] for term in part.terms]
        matrix[start : start + part.features, columns] = part.matrix
        start += part.features
    offsets = [part.offset for part in maps] or [np.zeros(0)]
    return AffineMap(tuple(place), matrix, np.concatenate(offsets))


def products(given: AffineMap, pairs: Sequence[tuple[int, ...]]) -> AffineMap:
    """Products of at most two features each: () is 1, (i,) feature i, (i, j) a product.

    Indicators are 0 or 1, so that powers of them and products within a column are none: b b = b,
    two categories of one column exclude each other, and the higher edge implies the lower.

    Raises:
        ShapeError: a product of three, or features that are products already.
        ModelError: too many terms.
    """
    if any(len(pair) > 2 for pair in pairs) or any(len(term) != 1 for term in given.terms):
        raise ShapeError("products of at most two units")
    units = [term[0] for term in given.terms]
    parts = [
        [(int(index), float(row[index])) for index in np.flatnonzero(row)] for row in given.matrix
    ]
    place: dict[Term, int] = {term: index for index, term in enumerate(given.terms)}
    rows: list[dict[int, float]] = []
    offsets = np.zeros(len(pairs))
    for result, pair in enumerate(pairs):
        row: dict[int, float] = {}
        constants = [float(given.offset[feature]) for feature in pair]
        offsets[result] = np.prod(constants) if pair else 1.0
        for position, feature in enumerate(pair):
            other = float(np.prod(constants[:position] + constants[position + 1 :]))
            for index, weight in parts[feature]:
                row[index] = row.get(index, 0.0) + weight * other
        if len(pair) == 2:
            for left, first in parts[pair[0]]:
                for right, second in parts[pair[1]]:
                    term = _product(units[min(left, right)], units[max(left, right)])
                    if term is not None:
                        index = place.setdefault(term, len(place))
                        row[index] = row.get(index, 0.0) + first * second
            if len(place) > MAX_TERMS:
                raise ModelError(f"more than {MAX_TERMS} products of features")
        rows.append(row)
    matrix = np.zeros((len(pairs), len(place)))
    for result, row in enumerate(rows):
        matrix[result, list(row)] = list(row.values())
    return AffineMap(tuple(place), matrix, offsets)


def _product(first: Unit, second: Unit) -> Term | None:
    """The term of a product; None if it is always zero."""
    if first.column == second.column:
        if isinstance(first, Indicator) and isinstance(second, Indicator):
            return (first,) if first == second else None
        if isinstance(first, Above) and isinstance(second, Above):
            return (first,) if first.edge >= second.edge else (second,)
    return first, second
