"""Layers on plain arrays, records first: what encrypted evaluation is compared with.

Everything takes and returns `(records, units)` of any floating type, so that one set of formulas
serves the real model (float64), the integer model (extended precision) and bounds on both. Images
are flattened channel by channel: unit c H W + y W + x. Matrices are those that are committed, a
row per output or channel, a convolution's columns in the order (channel, row, column).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

Array: TypeAlias = npt.NDArray[np.floating[Any]]
Pair: TypeAlias = tuple[int, int]
Shape: TypeAlias = tuple[int, int, int]


def dense(inputs: Array, matrix: Array, bias: Array) -> Array:
    """(records, K), (J, K), (J,) -> (records, J)."""
    outputs: Array = inputs @ matrix.T + bias
    return outputs


def conv2d(
    inputs: Array,
    shape: Shape,
    matrix: Array,
    bias: Array,
    *,
    kernel: Pair,
    stride: Pair,
    padding: Pair,
) -> Array:
    """(records, C H W), (channels, C kh kw), (channels,) -> (records, channels H' W')."""
    patches = windows(inputs, shape, kernel=kernel, stride=stride, padding=padding)
    mapped = patches @ matrix.T + bias
    return mapped.transpose(0, 2, 1).reshape(len(inputs), -1)


def windows(
    inputs: Array, shape: Shape, *, kernel: Pair, stride: Pair, padding: Pair = (0, 0)
) -> Array:
    """What each position of a kernel sees: (records, C H W) -> (records, H' W', C kh kw)."""
    images = inputs.reshape(len(inputs), *shape)
    vertical, horizontal = padding
    padded = np.pad(images, ((0, 0), (0, 0), (vertical, vertical), (horizontal, horizontal)))
    seen = np.lib.stride_tricks.sliding_window_view(padded, kernel, axis=(2, 3))
    seen = seen[:, :, :: stride[0], :: stride[1]].transpose(0, 2, 3, 1, 4, 5)
    records, height, width = seen.shape[:3]
    return seen.reshape(records, height * width, -1)


def sum_pool(inputs: Array, shape: Shape, *, kernel: Pair, stride: Pair) -> Array:
    """(records, C H W) -> (records, C H' W'), each output the sum of its window."""
    channels = shape[0]
    seen = windows(inputs, shape, kernel=kernel, stride=stride)
    summed = seen.reshape(len(inputs), seen.shape[1], channels, -1).sum(axis=-1)
    pooled: Array = summed.transpose(0, 2, 1).reshape(len(inputs), -1)
    return pooled


def polynomial(inputs: Array, coefficients: Sequence[Any]) -> Array:
    """Horner's rule with coefficients (c_0, ..., c_d), unit by unit."""
    result = np.zeros_like(inputs)
    for coefficient in reversed(coefficients):
        result = result * inputs + coefficient
    return result


def window_places(shape: Shape, kernel: Pair, stride: Pair, padding: Pair = (0, 0)) -> Pair:
    """Height and width of a kernel's positions; not positive when it does not fit."""
    height, width = (
        (size + 2 * pad - extent) // step + 1
        for size, pad, extent, step in zip(shape[1:], padding, kernel, stride, strict=True)
    )
    return height, width
