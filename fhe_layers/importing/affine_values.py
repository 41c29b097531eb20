"""Values of a graph that is being read, as affine functions of one tensor of the network to be.

Scaling, selecting, concatenating and multiplying with constants cost nothing as long as they are
only noted: they end up in the weights of the next layer. A value is kept in the cheapest of three
forms, for one record, so that axis 0, of the batch, has length one:

- `Picked`: entry e is factor[e] base[index[e]] + offset[e];
- `Combined`: entry e is sum_k matrix[k, e] base[k] + offset[e];
- `Convolved`: a convolution of the base and perhaps average pools after it.

Operators are functions of arrays (records, ...), so the K rows of a `Combined` matrix, which is
(K, ...), go through an operator like K records.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers import plaintext
from fhe_layers.plaintext import Pair, Shape

Floats: TypeAlias = npt.NDArray[np.float64]
Indices: TypeAlias = npt.NDArray[np.int64]
Operator: TypeAlias = Callable[[npt.NDArray[np.generic]], npt.NDArray[np.generic]]
"""(records, ...) -> (records, ...), each record by itself."""

MAX_ENTRIES = 1 << 24
"""Of a matrix that composes linear layers: 128 MiB."""


class CannotServeError(Exception):
    """Something has no encrypted form; whoever knows the node makes an UnsupportedModelError of it.

    Attributes:
        reason: why.
        instead: what to use instead.
    """

    def __init__(self, reason: str, instead: str) -> None:
        super().__init__(f"{reason}; {instead}")
        self.reason = reason
        self.instead = instead


@dataclass(frozen=True, eq=False)
class Picked:
    """factor * base[index] + offset, entry by entry; the three arrays have the value's shape."""

    base: int
    index: Indices = field(repr=False)
    factor: Floats = field(repr=False)
    offset: Floats = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """(1, ...)."""
        return self.index.shape

    @property
    def in_place(self) -> bool:
        """Whether entry e reads unit e, for all entries."""
        return bool((self.index.ravel() == np.arange(self.index.size)).all())

    @property
    def unshifted(self) -> bool:
        """No offsets."""
        return not self.offset.any()


@dataclass(frozen=True, eq=False)
class Combined:
    """base @ matrix + offset: matrix (K, ...) and offset (1, ...)."""

    base: int
    matrix: Floats = field(repr=False)
    offset: Floats = field(repr=False)

    @property
    def shape(self) -> tuple[int, ...]:
        """(1, ...)."""
        return self.offset.shape


@dataclass(frozen=True, eq=False)
class Convolved:
    """pools(conv(base)): weights (O, C, kh, kw), bias (O,).

    Attributes:
        image: the base as (C, H, W).
        pools: (kernel, stride) of average pools after it.
        shape: as the graph sees it, (1, O, H', W') or another of as many entries.
    """

    base: int
    image: Shape
    weights: Floats = field(repr=False)
    bias: Floats = field(repr=False)
    stride: Pair
    padding: Pair
    pools: tuple[tuple[Pair, Pair], ...] = ()
    shape: tuple[int, ...] = ()

    @property
    def result(self) -> Shape:
        """(O, H', W') after the pools."""
        kernel = self.weights.shape[2], self.weights.shape[3]
        channels = len(self.weights)
        height, width = plaintext.window_places(self.image, kernel, self.stride, self.padding)
        for window, stride in self.pools:
            places = plaintext.window_places((channels, height, width), window, stride)
            height, width = places
        return channels, height, width


Value: TypeAlias = Picked | Combined | Convolved


def whole(base: int, shape: tuple[int, ...]) -> Picked:
    """A tensor of the network as it is, in this shape (1, ...)."""
    index = np.arange(math.prod(shape), dtype=np.int64).reshape(shape)
    return Picked(base, index, np.ones(shape), np.zeros(shape))


def combined(value: Value, units: int) -> Combined:
    """The same value as a matrix over the K = units of its base.  Raises CannotServeError."""
    if isinstance(value, Combined):
        return value
    entries = math.prod(value.shape)
    if units * entries > MAX_ENTRIES:
        raise CannotServeError(
            "no activation stands between it and the linear layer before it, and both together "
            f"are a matrix of {units} x {entries}",
            "one linear layer, or a square between the two",
        )
    if isinstance(value, Convolved):
        kernel = value.weights.shape[2], value.weights.shape[3]
        window = {"kernel": kernel, "stride": value.stride, "padding": value.padding}
        matrix = value.weights.reshape(len(value.weights), -1)
        rows = np.vstack([np.eye(units), np.zeros((1, units))])
        rows = np.asarray(plaintext.conv2d(rows, value.image, matrix, value.bias, **window))
        partial = replace(value, pools=())
        for number, (extent, stride) in enumerate(value.pools):
            image = replace(partial, pools=value.pools[:number]).result
            rows = plaintext.sum_pool(rows, image, kernel=extent, stride=stride) / math.prod(extent)
        tail = value.shape[1:]
        return Combined(
            value.base,
            (rows[:-1] - rows[-1]).reshape(units, *tail),
            rows[-1:].reshape(1, *tail),
        )
    matrix = np.zeros((units, entries))
    matrix[value.index.ravel(), np.arange(entries)] = value.factor.ravel()
    return Combined(value.base, matrix.reshape(units, *value.shape[1:]), value.offset)


def rearranged(value: Value, operator: Operator, units: int) -> Value:
    """An operator that only moves, repeats or drops entries.  Raises CannotServeError."""
    if isinstance(value, Picked):
        arrays = (value.index, value.factor, value.offset)
        index, factor, offset = (operator(array) for array in arrays)
        return Picked(value.base, index.astype(np.int64), _floats(factor), _floats(offset))
    return transformed(value, operator, units)


def transformed(value: Value, operator: Operator, units: int) -> Combined:
    """A linear operator.  Raises CannotServeError."""
    given = combined(value, units)
    if not given.matrix.size:  # nothing is read of the base
        return Combined(value.base, given.matrix, _floats(operator(given.offset)))
    return Combined(value.base, _floats(operator(given.matrix)), _floats(operator(given.offset)))


def reshaped(value: Value, shape: tuple[int, ...], units: int) -> Value:
    """The entries in their order under another shape (1, ...)."""
    if isinstance(value, Convolved):
        return replace(value, shape=shape)
    return rearranged(value, lambda array: array.reshape(len(array), *shape[1:]), units)


def scaled(value: Value, factor: Floats, offset: Floats, units: int) -> Value:
    """factor * value + offset, both broadcast against the value's shape.

    Raises:
        CannotServeError: shapes that do not go together, or a matrix too large.
    """
    try:
        shape = np.broadcast_shapes(value.shape, factor.shape, offset.shape)
    except ValueError:
        raise CannotServeError(
            f"constants of shape {factor.shape} do not fit values of shape {value.shape}",
            "constants for each unit or each channel",
        ) from None
    if shape[:1] != (1,) or math.prod(shape) > MAX_ENTRIES:
        constants = np.broadcast_shapes(factor.shape, offset.shape)
        raise CannotServeError(
            f"its constants, of shape {constants}, would repeat records or more values than there "
            "can be",
            "constants for each unit or each channel",
        )
    factor, offset = np.broadcast_to(factor, shape), np.broadcast_to(offset, shape)
    if isinstance(value, Convolved):
        per_channel = channelwise(value.result, factor), channelwise(value.result, offset)
        if value.shape == shape and per_channel[0] is not None and per_channel[1] is not None:
            column = per_channel[0].reshape(-1, 1, 1, 1)
            bias = value.bias * per_channel[0] + per_channel[1]
            return replace(value, weights=value.weights * column, bias=bias)
        value = combined(value, units)
    if isinstance(value, Picked):
        index = np.broadcast_to(value.index, shape)
        return Picked(value.base, index, value.factor * factor, value.offset * factor + offset)
    return Combined(value.base, value.matrix * factor, value.offset * factor + offset)


def added(left: Value, right: Value, units: int) -> Value | None:
    """The sum of two affine functions of one tensor; None if it is cheaper as a layer."""
    if left.base != right.base or left.shape != right.shape:
        return None
    if isinstance(left, Picked) and isinstance(right, Picked):
        if (left.index == right.index).all():
            factor, offset = left.factor + right.factor, left.offset + right.offset
            return Picked(left.base, left.index, factor, offset)
        if left.in_place or right.in_place:
            return None
    if isinstance(left, Convolved) or isinstance(right, Convolved):
        return None
    first, second = combined(left, units), combined(right, units)
    return Combined(left.base, first.matrix + second.matrix, first.offset + second.offset)


def concatenated(values: list[Value], axis: int, units: int) -> Value:
    """Values of one base, joined along an axis that is not the batch.  Raises CannotServeError."""
    if all(isinstance(value, Picked) for value in values):
        picked = [value for value in values if isinstance(value, Picked)]
        return Picked(
            picked[0].base,
            np.concatenate([value.index for value in picked], axis),
            np.concatenate([value.factor for value in picked], axis),
            np.concatenate([value.offset for value in picked], axis),
        )
    matrices = [combined(value, units) for value in values]
    return Combined(
        values[0].base,
        np.concatenate([value.matrix for value in matrices], axis),
        np.concatenate([value.offset for value in matrices], axis),
    )


def channelwise(image: Shape, numbers: Floats) -> Floats | None:
    """(C,) of numbers (1, C H W in any shape) that are the same in each channel, else None."""
    rows = numbers.reshape(image[0], -1)
    return rows[:, 0].copy() if (rows == rows[:, :1]).all() else None


def _floats(array: npt.NDArray[np.generic]) -> Floats:
    return np.asarray(array, dtype=np.float64)
