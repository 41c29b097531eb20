"""Columns of a table, as a model card declares them, and the inputs a network gets of each.

A column is a number, which is scaled; a number which clients compare with public edges, so that
thresholds can be chosen among them in private; or one of some categories. Who sees it is part of
the declaration: what is encrypted only the client does.

Raw values are doubles: a number as it is, a category as its index. Inputs are what the network
takes of them, `inputs` for each column, in the card's order; none exceeds `bound` in magnitude.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass
from enum import StrEnum
from itertools import groupby, pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from protocol.encoding import Value, expect_float, expect_text, expect_tuple
from protocol.errors import EncodingError, ModelError

Floats: TypeAlias = npt.NDArray[np.float64]

MAX_NAME = 200
"""Characters of a name, of a category, of what a column is measured in."""
MAX_EDGES = 256
MAX_CATEGORIES = 256


class Privacy(StrEnum):
    """Who sees a column."""

    ENCRYPTED = "encrypted"
    PLAINTEXT = "plaintext"


@dataclass(frozen=True)
class Feature:
    """One number: raw values in [low, high] become one input, (raw - centre) / scale.

    Attributes:
        name: of the column.
        low, high: the range that clients keep to.
        centre, scale: the scaling.
        privacy: who sees it.
        missing: the value that stands for a missing one; None: a missing value is an error.
        measured_in: for people: "mmHg", "years".
    """

    name: str
    low: float
    high: float
    centre: float
    scale: float
    _: KW_ONLY
    privacy: Privacy = Privacy.ENCRYPTED
    missing: float | None = None
    measured_in: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "privacy", _privacy(self.name, self.privacy))
        _require_texts(self.name, measured_in=self.measured_in)
        _require_range(self.name, self.low, self.high, self.missing, (self.centre, self.scale))
        if not self.scale > 0:
            raise ModelError(f"feature '{self.name}': needs low < high and scale > 0")

    @property
    def inputs(self) -> int:
        """One."""
        return 1

    @property
    def input_names(self) -> tuple[str, ...]:
        """The column's own."""
        return (self.name,)

    @property
    def bound(self) -> float:
        """Largest magnitude of the input."""
        return max(abs(self.low - self.centre), abs(self.high - self.centre)) / self.scale

    @property
    def width(self) -> float:
        """How far the input moves over the range."""
        return (self.high - self.low) / self.scale

    def encode(self, raw: Floats) -> Floats:
        """Raw values (records,) to inputs (records, 1)."""
        scaled: Floats = (raw - self.centre) / self.scale
        return scaled[:, None]

    def value(self) -> Value:
        """The canonical value; integers are welcome, and the same column."""
        numbers = map(float, (self.low, self.high, self.centre, self.scale))
        return ("number", self.name, *numbers, *_number_rest(self))


class _Bits:
    """What has inputs of 0 and 1."""

    @property
    def bound(self) -> float:
        """One."""
        return 1.0

    @property
    def width(self) -> float:
        """One: inputs are 0 or 1."""
        return 1.0


@dataclass(frozen=True)
class Thermometer(_Bits):
    """One number compared with public edges: input i is 1 where raw > edges[i], else 0.

    Attributes:
        name: of the column.
        low, high: the range that clients keep to.
        edges: ascending, each at least low and below high.
        privacy: who sees it.
        missing: the value that stands for a missing one; None: a missing value is an error.
        measured_in: for people.
    """

    name: str
    low: float
    high: float
    edges: tuple[float, ...]
    _: KW_ONLY
    privacy: Privacy = Privacy.ENCRYPTED
    missing: float | None = None
    measured_in: str = ""

    def __post_init__(self) -> None:
        object.__setattr__(self, "edges", tuple(self.edges))
        object.__setattr__(self, "privacy", _privacy(self.name, self.privacy))
        _require_texts(self.name, measured_in=self.measured_in)
        if not 1 <= len(self.edges) <= MAX_EDGES:
            raise ModelError(f"feature '{self.name}': 1 to {MAX_EDGES} edges are needed")
        _require_range(self.name, self.low, self.high, self.missing, self.edges)
        if any(left >= right for left, right in pairwise(self.edges)):
            raise ModelError(f"feature '{self.name}': edges must ascend")
        if self.edges[0] < self.low or self.edges[-1] >= self.high:
            raise ModelError(f"feature '{self.name}': edges must lie in its range, below its end")

    @property
    def inputs(self) -> int:
        """One for each edge."""
        return len(self.edges)

    @property
    def input_names(self) -> tuple[str, ...]:
        """As conditions."""
        return tuple(f"{self.name} > {edge:.6g}" for edge in self.edges)

    def encode(self, raw: Floats) -> Floats:
        """Raw values (records,) to inputs (records, edges)."""
        above: Floats = (raw[:, None] > np.array(self.edges)).astype(np.float64)
        return above

    def value(self) -> Value:
        """The canonical value."""
        edges = tuple(map(float, self.edges))
        bounds = (float(self.low), float(self.high))
        return ("thermometer", self.name, *bounds, edges, *_number_rest(self))


@dataclass(frozen=True)
class Category(_Bits):
    """One of some categories: input i is 1 where the value is categories[i], else 0.

    Attributes:
        name: of the column.
        categories: distinct; the raw value of one is its index.
        privacy: who sees it.
        missing: the category that stands for a missing value; None: that is an error.
    """

    name: str
    categories: tuple[str, ...]
    privacy: Privacy = Privacy.ENCRYPTED
    missing: str | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "categories", tuple(self.categories))
        object.__setattr__(self, "privacy", _privacy(self.name, self.privacy))
        _require_texts(self.name)
        if not 1 <= len(self.categories) <= MAX_CATEGORIES:
            raise ModelError(f"feature '{self.name}': 1 to {MAX_CATEGORIES} categories are needed")
        if not all(0 < len(category) <= MAX_NAME for category in self.categories):
            raise ModelError(f"feature '{self.name}': categories have 1 to {MAX_NAME} characters")
        if len(set(self.categories)) != len(self.categories):
            raise ModelError(f"feature '{self.name}': categories must be distinct")
        if self.missing is not None and self.missing not in self.categories:
            raise ModelError(f"feature '{self.name}': a missing value must become a category")

    @property
    def inputs(self) -> int:
        """One for each category."""
        return len(self.categories)

    @property
    def input_names(self) -> tuple[str, ...]:
        """As conditions."""
        return tuple(f"{self.name} = {category}" for category in self.categories)

    def encode(self, raw: Floats) -> Floats:
        """Raw values, indices (records,), to inputs (records, categories)."""
        chosen: Floats = (raw[:, None] == np.arange(len(self.categories))).astype(np.float64)
        return chosen

    def value(self) -> Value:
        """The canonical value."""
        return ("category", self.name, self.categories, str(self.privacy), self.missing)


Column: TypeAlias = Feature | Thermometer | Category


def stand_in(column: Column) -> float:
    """The raw value of a missing one, NaN if the card has none."""
    if column.missing is None:
        return math.nan
    if isinstance(column, Category):
        return float(column.categories.index(column.missing))
    return float(column.missing)


def with_stand_ins(columns: Sequence[Column], raw: Floats) -> Floats:
    """Raw values (records, columns) with what stands for missing ones; NaN where nothing does."""
    fill = np.array([stand_in(column) for column in columns])
    filled: Floats = np.where(np.isnan(raw), fill, raw)
    return filled


def encode_columns(columns: Sequence[Column], raw: Floats) -> Floats:
    """Raw values (records, columns), complete and in range, to inputs (records, inputs).

    Elementwise arithmetic and comparisons of doubles: the same on every machine.
    """
    parts: list[Floats] = []
    start = 0
    for numbers, run in groupby(columns, lambda column: isinstance(column, Feature)):
        together = list(run)
        block = raw[:, start : start + len(together)]
        start += len(together)
        if numbers:  # images have thousands of them
            parts.append(_scaled(together, block))
        else:
            parts += [column.encode(block[:, index]) for index, column in enumerate(together)]
    return np.ascontiguousarray(np.column_stack(parts))


def _scaled(columns: Sequence[Column], raw: Floats) -> Floats:
    """`Feature.encode` of all columns at once."""
    scales = [(column.centre, column.scale) for column in columns if isinstance(column, Feature)]
    centre, scale = np.array(scales, dtype=np.float64).T
    scaled: Floats = (raw - centre) / scale
    return scaled


def column_from_value(value: Value) -> Column:
    """Rebuild and validate a column from a decoded value.

    Raises:
        EncodingError, ModelError: anything but a valid column.
    """
    fields = expect_tuple(value, "feature")
    kind = fields[0] if fields else None
    if kind == "number":
        _, name, *numbers, privacy, missing, measured_in = expect_tuple(value, "feature", 9)
        low, high, centre, scale = (expect_float(number, "feature range") for number in numbers)
        return Feature(
            expect_text(name, "feature name"),
            low,
            high,
            centre,
            scale,
            privacy=_parsed_privacy(privacy),
            missing=None if missing is None else expect_float(missing, "missing value"),
            measured_in=expect_text(measured_in, "measure"),
        )
    if kind == "thermometer":
        _, name, *numbers, edges, privacy, missing, measured_in = expect_tuple(value, "feature", 8)
        low, high = (expect_float(number, "feature range") for number in numbers)
        return Thermometer(
            expect_text(name, "feature name"),
            low,
            high,
            tuple(expect_float(edge, "edge") for edge in expect_tuple(edges, "edges")),
            privacy=_parsed_privacy(privacy),
            missing=None if missing is None else expect_float(missing, "missing value"),
            measured_in=expect_text(measured_in, "measure"),
        )
    if kind == "category":
        _, name, categories, privacy, missing = expect_tuple(value, "feature", 5)
        return Category(
            expect_text(name, "feature name"),
            tuple(expect_text(item, "category") for item in expect_tuple(categories, "categories")),
            privacy=_parsed_privacy(privacy),
            missing=None if missing is None else expect_text(missing, "missing value"),
        )
    raise EncodingError("a feature of unknown kind")


def _number_rest(column: Feature | Thermometer) -> tuple[Value, ...]:
    """What the canonical values of both kinds of number end with."""
    missing = None if column.missing is None else float(column.missing)
    return str(column.privacy), missing, column.measured_in


def _parsed_privacy(value: Value) -> Privacy:
    stated = expect_text(value, "privacy")
    try:
        return Privacy(stated)
    except ValueError as error:
        raise EncodingError("unknown privacy") from error


def _privacy(name: str, stated: Privacy | str) -> Privacy:
    """Text would pass for a privacy wherever it is compared by identity, and be neither."""
    try:
        return Privacy(stated)
    except ValueError:
        kinds = " or ".join(f"'{kind}'" for kind in Privacy)
        raise ModelError(f"feature '{name}': privacy is {kinds}") from None


def _require_texts(name: str, measured_in: str = "") -> None:
    if not 0 < len(name) <= MAX_NAME:
        raise ModelError(f"names must have 1 to {MAX_NAME} characters")
    if len(measured_in) > MAX_NAME:
        raise ModelError(f"feature '{name}': a measure has at most {MAX_NAME} characters")


def _require_range(
    name: str, low: float, high: float, missing: float | None, numbers: Sequence[float]
) -> None:
    every = (low, high, *numbers, *(() if missing is None else (missing,)))
    if not all(math.isfinite(number) for number in every):
        raise ModelError(f"feature '{name}': range and scaling must be finite")
    if not low < high:
        raise ModelError(f"feature '{name}': needs low < high and scale > 0")
    if missing is not None and not low <= missing <= high:
        raise ModelError(f"feature '{name}': the value for missing ones is outside its range")
