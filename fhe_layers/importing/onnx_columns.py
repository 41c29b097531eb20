"""Inputs of an ONNX model, as columns of a table and units of a network.

What becomes of a column depends on what the model does with it: a number that an imputer completes,
a number that is one-hot encoded, pixels around which a convolution pads with zeros. A graph is
therefore read again whenever it turns out to want something else of its columns than was assumed:
`Wishes` collects what it wants, and only grows.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from itertools import accumulate, pairwise
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers.importing.affine_values import CannotServeError, Floats, Picked, Value
from fhe_layers.importing.calibration import (
    calibrated_range,
    category_column,
    number_column,
    privacy_of,
)
from fhe_layers.importing.onnx_graph import Graph, GraphInput
from fhe_layers.importing.options import ImportOptions
from fhe_layers.importing.table import Table
from fhe_layers.monomials import Expansion
from fhe_layers.spec import TensorShape
from protocol.errors import ModelError, ShapeError
from protocol.features import Category, Column, Feature, Thermometer

Indices: TypeAlias = npt.NDArray[np.int64]

MAX_MONOMIALS = 1024
ROUNDING = 1e-12
"""A centre below this share of the scale is zero."""


@dataclass(frozen=True, eq=False)
class Texts:
    """Columns with texts, as they are: positions among the columns, (1, n)."""

    columns: Indices

    @property
    def shape(self) -> tuple[int, ...]:
        """(1, n)."""
        return self.columns.shape


@dataclass
class Wishes:
    """What a graph wants of its columns; positions among the model's columns.

    Attributes:
        missing: what stands for a missing value.
        steps: whole numbers that a column is compared with, ascending.
        categories: texts that a column is compared with.
        ignores_others: whether any other text is none of them.
        image: the input as (C, H, W), if it comes as a row of numbers.
        centres: for each channel the raw value that padding stands for.
        monomials: products of two units, that clients compute.
    """

    missing: dict[int, float] = field(default_factory=dict)
    steps: dict[int, tuple[int, ...]] = field(default_factory=dict)
    categories: dict[int, tuple[str, ...]] = field(default_factory=dict)
    ignores_others: dict[int, bool] = field(default_factory=dict)
    image: tuple[int, int, int] | None = None
    centres: tuple[float, ...] | None = None
    monomials: set[tuple[int, int]] = field(default_factory=set)


class ReadAgainError(Exception):
    """The graph wants something else of its columns: read it again, with the wishes as they are."""


class InputColumns:
    """The columns of one reading.

    Attributes:
        features: columns of the card, in the table's order.
        shape: of the network's input.
    """

    def __init__(
        self, graph: Graph, table: Table, options: ImportOptions, wishes: Wishes, *, raw: bool
    ) -> None:
        """Args: raw: leave numbers as they are, for models that only compare them."""
        self.table = table
        self.wishes = wishes
        self._graph = graph
        self._options = options
        self._raw = raw
        unknown = sorted(set(options.local) - set(table.names))
        if unknown:
            raise ModelError(f"local columns that the sample does not have: {', '.join(unknown)}")
        self.columns = [i for i, name in enumerate(table.names) if name not in options.local]
        self.names = [table.names[column] for column in self.columns]
        self._bound = self._bind(graph.inputs)
        self.image = self._image(graph.inputs)
        self.features = self._features()
        self._starts = list(accumulate((column.inputs for column in self.features), initial=0))
        units = self._starts[-1] + len(wishes.monomials)
        self._monomials = {
            pair: self._starts[-1] + i for i, pair in enumerate(sorted(wishes.monomials))
        }
        self.shape: TensorShape = self.image if self.image is not None else (units,)

    @property
    def expansion(self) -> Expansion:
        """Monomials that clients compute; empty if the units are as the columns are."""
        if self._monomials:
            singles = tuple((unit,) for unit in range(self._starts[-1]))
            return (*singles, *sorted(self._monomials))
        return ()

    def values(self) -> dict[str, Value | Texts]:
        """What each input of the graph is, in raw values."""
        return {
            item.name: self._value(item, positions)
            for item, positions in zip(self._graph.inputs, self._bound, strict=True)
        }

    def feeds(self, raw: Floats) -> dict[str, npt.NDArray[np.generic]]:
        """Inputs of the original model for raw values (records, columns)."""
        feeds: dict[str, npt.NDArray[np.generic]] = {}
        for item, positions in zip(self._graph.inputs, self._bound, strict=True):
            cells = raw[:, positions]
            if item.text:
                feeds[item.name] = np.column_stack(
                    [
                        self._texts(position, cells[:, number])
                        for number, position in enumerate(positions)
                    ]
                )
                continue
            tail = [axis for axis in item.shape[1:] if axis is not None]
            shape = tail if len(item.shape) != 2 else [len(positions)]
            feeds[item.name] = cells.reshape(len(raw), *shape).astype(item.dtype)
        return feeds

    def position(self, unit: int) -> tuple[int, int] | None:
        """(column, which of its inputs) of a unit; None for a monomial or in an image."""
        if self.image is not None or unit >= self._starts[-1]:
            return None
        column = int(np.searchsorted(self._starts, unit, side="right")) - 1
        return column, unit - self._starts[column]

    def raw_number(self, value: Value, entry: int) -> tuple[int, float, float] | None:
        """(column, a, b) if an entry is a * raw + b of a column of numbers."""
        if not isinstance(value, Picked) or value.base:
            return None
        place = self.position(int(value.index.flat[entry]))
        if place is None or not isinstance(feature := self.features[place[0]], Feature):
            return None
        factor = float(value.factor.flat[entry]) / feature.scale
        return place[0], factor, float(value.offset.flat[entry]) - factor * feature.centre

    def plain_columns(self, value: Value | Texts) -> list[int]:
        """The columns that a value is, untouched.  Raises CannotServeError."""
        if isinstance(value, Texts):
            return [int(column) for column in value.columns.flat]
        columns = []
        for entry in range(math.prod(value.shape)):
            stepped = self._stepped(value, entry)
            if stepped is not None:
                columns.append(stepped)
                continue
            number = self.raw_number(value, entry)
            if number is None or not np.allclose(number[1:], (1, 0), atol=1e-9):
                raise CannotServeError(
                    "it works on columns as they come, but here they were changed before it",
                    "the same step directly on the columns of the table",
                )
            columns.append(number[0])
        return columns

    def _stepped(self, value: Value, entry: int) -> int | None:
        """The column of whole numbers that an entry is, if it is one."""
        if not isinstance(value, Picked) or value.base:
            return None
        place = self.position(int(value.index.flat[entry]))
        if place is None or not isinstance(self.features[place[0]], Thermometer):
            return None
        return place[0]

    @property
    def completed(self) -> Table:
        """The sample with what stands for missing numbers in their place."""
        values = self.table.values.copy()
        for position, stands in self.wishes.missing.items():
            column = values[:, self.columns[position]]
            column[np.isnan(column)] = float(stands)
        return replace(self.table, values=values)

    def replaced_by(self, features: Sequence[Column]) -> None:
        """Other columns, by which trees are compared; what stands for missing values stays."""
        stands = self.wishes.missing
        self.features = tuple(
            _completing(feature, float(stands[position])) if position in stands else feature
            for position, feature in enumerate(features)
        )

    def indicators(self, column: int, wanted: Sequence[object]) -> Value:
        """(1, n): for each wanted value 1 where the column has it, else 0.

        Raises:
            ReadAgainError: the column was taken for something else.
            CannotServeError: it is used in two ways.
        """
        feature = self.features[column]
        start = self._starts[column]
        if isinstance(feature, Category):
            index = [feature.categories.index(str(value)) for value in wanted]
            picked = np.array(index, dtype=np.int64)[None] + start
            return Picked(0, picked, np.ones(picked.shape), np.zeros(picked.shape))
        raise CannotServeError("it encodes a column of numbers", "a column of texts")

    def step_matrix(self, column: int, wanted: Sequence[int], units: int) -> tuple[Floats, Floats]:
        """Indicators of whole numbers as a matrix (units, n) and offset (1, n) of comparisons.

        Raises:
            ReadAgainError: the column was taken for a number.
        """
        known = self.wishes.steps.get(column)
        steps = tuple(sorted({*wanted, *(known or ())}))
        if known != steps:
            self.wishes.steps[column] = steps
            raise ReadAgainError
        matrix, offset = np.zeros((units, len(wanted))), np.zeros((1, len(wanted)))
        start = self._starts[column]
        for entry, value in enumerate(wanted):
            place = steps.index(value)
            if place:
                matrix[start + place - 1, entry] += 1
            else:
                offset[0, entry] = 1
            if place < len(steps) - 1:
                matrix[start + place, entry] -= 1
        return matrix, offset

    def want_categories(self, column: int, texts: Sequence[str], *, ignores_others: bool) -> None:
        """Texts that a column is compared with.  Raises ReadAgainError."""
        known = self.wishes.categories.get(column, ())
        merged = (*known, *(text for text in texts if text not in known))
        others = self.wishes.ignores_others.get(column, True) and ignores_others
        changed = merged != known or self.wishes.ignores_others.get(column) != others
        self.wishes.categories[column] = merged
        self.wishes.ignores_others[column] = others
        if changed:
            raise ReadAgainError

    def want_missing(self, columns: Sequence[int], stands: Sequence[float]) -> None:
        """What an imputer puts for missing values.  Raises ReadAgainError."""
        wanted = dict(zip(columns, stands, strict=True))
        if any(self.wishes.missing.get(column) != value for column, value in wanted.items()):
            self.wishes.missing.update(wanted)
            raise ReadAgainError

    def want_image(self, image: tuple[int, int, int]) -> None:
        """That the row of numbers is an image.  Raises ReadAgainError."""
        if self.image is None and math.prod(image) == len(self.features):
            self.wishes.image = image
            raise ReadAgainError

    def want_centres(self, units: Floats) -> None:
        """Units of each channel that must be zero.  Raises ReadAgainError, CannotServeError."""
        if self.image is None:
            return
        if self.wishes.centres is not None:
            raise CannotServeError(
                "zero padding stands for different pixels in two convolutions",
                "convolutions without padding",
            )
        area = self.image[1] * self.image[2]
        first = [self.features[channel * area] for channel in range(self.image[0])]
        centres = [
            (float(feature.centre + feature.scale * unit), feature.scale)
            for feature, unit in zip(first, units, strict=True)
            if isinstance(feature, Feature)
        ]
        self.wishes.centres = tuple(
            0.0 if abs(centre) < ROUNDING * scale else centre for centre, scale in centres
        )
        raise ReadAgainError

    def monomial(self, left: int, right: int) -> int | None:
        """The unit that is the product of two others; None if clients had better not compute it.

        A unit that there is not yet is wished for, and any other stands in for it until the graph
        is read again.
        """
        if self.image is not None or max(left, right) >= self._starts[-1]:
            return None
        pair = (min(left, right), max(left, right))
        if pair not in self._monomials:
            if len(self.wishes.monomials) >= MAX_MONOMIALS:
                raise CannotServeError(
                    f"it takes more than {MAX_MONOMIALS} products of columns", "fewer columns"
                )
            self.wishes.monomials.add(pair)
        return self._monomials.get(pair, 0)

    @property
    def stale(self) -> bool:
        """Whether units stand in for others."""
        return len(self._monomials) != len(self.wishes.monomials)

    def _bind(self, inputs: Sequence[GraphInput]) -> list[list[int]]:
        """For each input the positions of its columns.  Raises ModelError."""
        every = list(range(len(self.columns)))
        if len(inputs) == 1:
            bound = [every]
            axes = inputs[0].shape[1:]
            count = math.prod(axis for axis in axes if axis is not None)
            if None not in axes and count != len(every):
                raise ModelError(
                    f"the model reads {count} columns, the sample has {len(every)} that are not "
                    f"local, the last of them '{self.names[-1]}': name the column with the truth "
                    "as the target, and others that the model does not read as local"
                )
        else:
            by_name = {_plain(name): position for position, name in enumerate(self.names)}
            missing = [item.name for item in inputs if _plain(item.name) not in by_name]
            if missing:
                raise ModelError(
                    f"the model has inputs that are no columns of the sample: {_listed(missing)}"
                )
            if any(axis not in {None, 1} for item in inputs for axis in item.shape[1:]):
                raise ModelError("each of several inputs must be one column, (records, 1)")
            bound = [[by_name[_plain(item.name)]] for item in inputs]
            unread = sorted({*every} - {position for row in bound for position in row})
            if unread:
                names = _listed([self.names[position] for position in unread])
                raise ModelError(
                    f"the model does not read these columns of the sample: {names}. Leave them "
                    "out, or name them as local"
                )
        for item, positions in zip(inputs, bound, strict=True):
            for position in positions:
                texts = self.table.categories[self.columns[position]] is not None
                if texts != item.text:
                    found, wanted = ("texts", "numbers") if texts else ("numbers", "texts")
                    raise ModelError(
                        f"column '{self.names[position]}' of the sample has {found}, input "
                        f"'{item.name}' of the model takes {wanted}"
                    )
        return bound

    def _image(self, inputs: Sequence[GraphInput]) -> tuple[int, int, int] | None:
        """The input as an image, channels first, or None.  Raises ShapeError."""
        axes = inputs[0].shape
        if len(inputs) > 1 or len(axes) == 2 or len(axes) == 1:
            return self.wishes.image
        known = tuple(axis for axis in axes[1:] if axis is not None)
        if len(axes) not in {3, 4} or len(known) != len(axes) - 1:
            raise ShapeError(
                f"input '{inputs[0].name}' has the shape {axes}: expected (records, columns) or "
                "(records, channels, height, width), all but the records fixed"
            )
        if len(known) == 2:
            return 1, known[0], known[1]
        if self._channels_last(self._graph):
            if known[2] > 1:
                raise ShapeError(
                    f"input '{inputs[0].name}' has its {known[2]} channels last: export the model "
                    "with channels first, so that columns come channel by channel"
                )
            return 1, known[0], known[1]
        return known[0], known[1], known[2]

    @staticmethod
    def _channels_last(graph: Graph) -> bool:
        """Whether all that reads the image first moves its channels to the front."""
        name = graph.inputs[0].name
        readers = [node for node in graph.nodes if name in node.inputs]
        return len(graph.inputs[0].shape) == 4 and all(
            node.operator == "Transpose" and node.attributes.get("perm") == [0, 3, 1, 2]
            for node in readers
        )

    def _features(self) -> tuple[Column, ...]:
        features = [self._feature(position) for position in range(len(self.columns))]
        if self.image is None:
            return tuple(features)
        area = self.image[1] * self.image[2]
        for channel in range(self.image[0]):
            columns = range(channel * area, (channel + 1) * area)
            pixels = [item for i in columns if isinstance(item := features[i], Feature)]
            low, high = min(pixel.low for pixel in pixels), max(pixel.high for pixel in pixels)
            centre = (low + high) / 2
            if self.wishes.centres is not None:
                centre = self.wishes.centres[channel]
            scale = max(abs(low - centre), abs(high - centre))
            for column, pixel in zip(columns, pixels, strict=True):
                features[column] = replace(pixel, centre=centre, scale=scale)
        return tuple(features)

    def _feature(self, position: int) -> Column:
        column = self.columns[position]
        missing = self.wishes.missing.get(position)
        if self.table.categories[column] is not None:
            return self._category(position)
        if position in self.wishes.steps:
            return self._thermometer(position, missing)
        feature = number_column(self.table, column, self._options, missing)
        return replace(feature, centre=0.0, scale=1.0) if self._raw else feature

    def _category(self, position: int) -> Category:
        """Texts of the sample, then those that only the model knows."""
        sampled = category_column(self.table, self.columns[position], self._options)
        known = self.wishes.categories.get(position)
        if known is None:
            return sampled
        strangers = [text for text in sampled.categories if text not in known]
        if strangers and not self.wishes.ignores_others.get(position):
            raise ModelError(
                f"column '{sampled.name}' of the sample has texts that the model does not "
                f"know, {len(strangers)} of them: give a sample with categories that it was fitted "
                "on, or fit it with handle_unknown='ignore'"
            )
        others = tuple(text for text in known if text not in sampled.categories)
        return replace(sampled, categories=(*sampled.categories, *others))

    def _thermometer(self, position: int, missing: float | None) -> Thermometer:
        """Comparisons half way between the whole numbers that the model knows."""
        column, steps = self.columns[position], self.wishes.steps[position]
        low, high = calibrated_range(self.table, column, self._options)
        edges = tuple((left + right) / 2 for left, right in pairwise(steps))
        name = self.names[position]
        return Thermometer(
            name,
            min(low, steps[0] - 0.5),
            max(high, steps[-1] + 0.5),
            edges or (steps[0] - 0.5,),
            privacy=privacy_of(name, self._options),
            missing=missing,
            measured_in=self._options.measured_in.get(name, ""),
        )

    def _value(self, item: GraphInput, positions: Sequence[int]) -> Value | Texts:
        rank = max(len(item.shape), 1)
        if item.text:
            return Texts(np.array(positions, dtype=np.int64).reshape(1, -1))
        units = [self._starts[position] for position in positions]
        scale, centre = [], []
        for position in positions:
            feature = self.features[position]
            scale.append(feature.scale if isinstance(feature, Feature) else math.nan)
            centre.append(feature.centre if isinstance(feature, Feature) else 0.0)
        value = Picked(0, np.array([units]), np.array([scale]), np.array([centre]))
        if rank == 2:
            return value
        axes = (1, *(axis or 1 for axis in item.shape[1:]))
        return Picked(
            0, value.index.reshape(axes), value.factor.reshape(axes), value.offset.reshape(axes)
        )

    def _texts(self, position: int, cells: Floats) -> npt.NDArray[np.object_]:
        feature = self.features[position]
        assert isinstance(feature, Category)  # noqa: S101
        texts = [
            (feature.missing or "") if math.isnan(cell) else feature.categories[int(cell)]
            for cell in cells
        ]
        return np.array(texts, dtype=object)


def _completing(feature: Column, stands: float) -> Column:
    """A column of numbers with what stands for a missing one, in its range."""
    if isinstance(feature, Category):
        return feature
    low, high = min(feature.low, stands), max(feature.high, stands)
    return replace(feature, low=low, high=high, missing=stands)


def _plain(name: str) -> str:
    """A name as exporters write it."""
    return re.sub(r"\W", "_", name)


def _listed(names: Sequence[str]) -> str:
    shown = ", ".join(f"'{name}'" for name in names[:5])
    return shown + (f" and {len(names) - 5} more" if len(names) > 5 else "")
