"""Layers of ONNX: what ends up as weights, and what pools."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from fhe_layers.importing.affine_values import CannotServeError, Floats, Picked, Value, reshaped
from fhe_layers.importing.onnx_arithmetic import with_constants
from fhe_layers.importing.onnx_graph import Node
from fhe_layers.importing.onnx_shapes import listed_axes, taken_along
from fhe_layers.importing.onnx_walk import Response, Seen, Total, Walk, required

MAX_EXPANDED = 16_384
"""Weights of a grouped or dilated convolution written as a plain one."""
MAX_PADDED = 1 << 20
"""Places of a channel with its padding."""


def gemm(walk: Walk, node: Node) -> Seen:
    """alpha A B + beta C."""
    if node.integer("transA", 0):
        raise CannotServeError("it transposes the records (transA)", "transA=0")
    weights = required(walk.numbers(node, 1))
    weights = node.number("alpha", 1.0) * (weights.T if node.integer("transB", 0) else weights)
    value = walk.transformed(walk.value(node, 0), lambda rows: rows @ weights)
    bias = walk.numbers(node, 2)
    if bias is None:
        return value
    return with_constants(walk, value, np.array(1.0), node.number("beta", 1.0) * _row(bias, value))


def matmul(walk: Walk, node: Node) -> Seen:
    """A product with a constant matrix."""
    if isinstance(walk.input(node, 0), np.ndarray):
        raise CannotServeError(
            "a constant stands on its left, so that it mixes records or axes", "x @ W, as Linear is"
        )
    weights = walk.constant(node, 1)
    if weights is None or weights.ndim > 2:
        raise CannotServeError("it multiplies stacks of matrices", "a matrix")
    matrix = np.asarray(weights, dtype=np.float64)
    return walk.transformed(walk.value(node, 0), lambda rows: rows @ matrix)


def conv(walk: Walk, node: Node) -> Seen:
    """A two-dimensional convolution."""
    value = walk.value(node, 0)
    weights = required(walk.numbers(node, 1))
    if weights.ndim != 4 or len(value.shape) != 4:
        raise CannotServeError(
            f"its kernel has {weights.ndim - 2} dimensions", "Conv2d, of height 1 if need be"
        )
    bias = walk.numbers(node, 2)
    bias = np.zeros(len(weights)) if bias is None else bias
    weights = _ungrouped(weights, node.integer("group", 1), value.shape[1])
    weights = _dilated(weights, node.attributes.get("dilations", [1, 1]))
    stride = _pair(node.attributes.get("strides", [1, 1]))
    weights, padding = _padded(node, weights, value.shape[2:], stride)
    if isinstance(value, Picked) and not value.base:
        image = (value.shape[1], value.shape[2], value.shape[3])
        if value.in_place:
            walk.columns.want_image(image)
        border = walk.builder.border(value, padding)
        if border is not None:
            walk.columns.want_centres(border)
    return walk.builder.convolved(value, weights, bias, stride, padding)


def batch_normalisation(walk: Walk, node: Node) -> Seen:
    """In inference: an affine map of each channel."""
    if node.integer("training_mode", 0):
        raise CannotServeError("it is exported in training mode", "module.eval() before exporting")
    value = walk.value(node, 0)
    gamma, beta, mean, variance = (required(walk.numbers(node, i)) for i in range(1, 5))
    factor = gamma / np.sqrt(variance + node.number("epsilon", 1e-5))
    axes = (1, -1, *(1,) * (len(value.shape) - 2))
    offset = beta - factor * mean
    return with_constants(walk, value, factor.reshape(axes), offset.reshape(axes))


def average_pool(walk: Walk, node: Node) -> Seen:
    """Averages of windows without padding."""
    value = walk.value(node, 0)
    kernel = _pair(node.attributes.get("kernel_shape", []))
    stride = _pair(node.attributes.get("strides", [1, 1]))
    if len(value.shape) != 4:
        raise CannotServeError("it pools something that is no image", "AvgPool2d")
    if any(node.attributes.get("pads", [])) or node.text("auto_pad", "NOTSET").startswith("SAME"):
        raise CannotServeError("it pads before it averages", "padding=0, or padding in a Conv2d")
    if any(extent != 1 for extent in node.attributes.get("dilations", [])):
        raise CannotServeError("its windows have gaps", "dilations of 1")
    fits = all(
        (size - extent) % step == 0
        for size, extent, step in zip(value.shape[2:], kernel, stride, strict=True)
    )
    if node.integer("ceil_mode", 0) and not fits:
        raise CannotServeError("windows reach beyond the image (ceil_mode)", "ceil_mode=False")
    return walk.builder.pooled(value, kernel, stride)


def global_average_pool(walk: Walk, node: Node) -> Seen:
    """The average of each channel."""
    value = walk.value(node, 0)
    if len(value.shape) != 4:
        raise CannotServeError("it pools something that is no image", "AdaptiveAvgPool2d(1)")
    whole = _pair(value.shape[2:])
    return walk.builder.pooled(value, whole, whole)


def reduce_mean(walk: Walk, node: Node) -> Seen:
    """The average over axes of a record."""
    value = walk.value(node, 0)
    axes, keep = _axes(walk, node, len(value.shape))
    if axes == (2, 3) and len(value.shape) == 4:
        pooled = walk.builder.pooled(value, _pair(value.shape[2:]), _pair(value.shape[2:]))
        shape = pooled.shape if keep else pooled.shape[:2]
        return reshaped(pooled, shape, walk.builder.units(pooled))
    return walk.transformed(value, lambda rows: rows.mean(axis=axes, keepdims=keep))


def reduce_sum(walk: Walk, node: Node) -> Seen:
    """The sum over axes of a record."""
    given = walk.input(node, 0)
    if isinstance(given, Response):
        axes, keep = _axes(walk, node, len(given.shape))
        if axes != (1,) or len(given.shape) != 2 or not keep:
            raise CannotServeError("it does not sum over classes", "axis 1, keepdims=1, of (N, J)")
        return Total(given)
    value = walk.value(node, 0)
    axes, keep = _axes(walk, node, len(value.shape))
    return walk.transformed(value, lambda rows: rows.sum(axis=axes, keepdims=keep))


def reduce_product(walk: Walk, node: Node) -> Seen:
    """The product of up to four entries."""
    value = walk.value(node, 0)
    axes, keep = _axes(walk, node, len(value.shape))
    if axes != (1,) or len(value.shape) != 2 or value.shape[1] > 4:
        raise CannotServeError("it multiplies more than four numbers", "products of two to four")
    parts = [taken_along(walk, value, [place], 1) for place in range(value.shape[1])]
    result = parts[0]
    for part in parts[1:]:
        result = walk.product(result, part)
    return result if keep else reshaped(result, (1,), walk.builder.units(result))


def _row(bias: Floats, value: Value) -> Floats:
    return bias.reshape(1, -1) if bias.size == math.prod(value.shape) else bias


def _axes(walk: Walk, node: Node, rank: int) -> tuple[tuple[int, ...], bool]:
    """The axes that a reduction removes, never the records'."""
    listed = listed_axes(walk, node)
    if not listed:
        raise CannotServeError("it reduces over the records too", "axes of one record")
    axes = tuple(sorted(axis % rank for axis in listed))
    if 0 in axes:
        raise CannotServeError("it reduces over the records", "axes of one record")
    return axes, bool(node.integer("keepdims", 1))


def _pair(values: Sequence[Any]) -> tuple[int, int]:
    if len(values) != 2:
        raise CannotServeError(f"it has {len(values)} spatial dimensions", "two: Conv2d, AvgPool2d")
    return int(values[0]), int(values[1])


def _ungrouped(weights: Floats, groups: int, channels: int) -> Floats:
    """The kernel of a grouped convolution with zeros between the groups."""
    if groups == 1:
        return weights
    count, inner, height, width = weights.shape
    if count * channels * height * width > MAX_EXPANDED or count % groups:
        raise CannotServeError(f"it has {groups} groups", "groups=1")
    full = np.zeros((count, channels, height, width))
    for channel in range(count):
        start = channel // (count // groups) * inner
        full[channel, start : start + inner] = weights[channel]
    return full


def _dilated(weights: Floats, dilations: Sequence[int]) -> Floats:
    """The kernel with zeros in its gaps."""
    down, right = _pair(dilations)
    if (down, right) == (1, 1):
        return weights
    count, channels, height, width = weights.shape
    extent = (height - 1) * down + 1, (width - 1) * right + 1
    if count * channels * math.prod(extent) > MAX_EXPANDED:
        raise CannotServeError(f"it is dilated by {(down, right)}", "dilation=1")
    full = np.zeros((count, channels, *extent))
    full[:, :, ::down, ::right] = weights
    return full


def _padded(
    node: Node, weights: Floats, sizes: Sequence[int], stride: tuple[int, int]
) -> tuple[Floats, tuple[int, int]]:
    """A kernel and its padding, the same on both sides.

    Unequal padding becomes equal when the kernel gets zeros on the side that has less of it.
    """
    kernel = weights.shape[2:]
    begin, end = [0, 0], [0, 0]
    automatic = node.text("auto_pad", "NOTSET")
    if automatic.startswith("SAME"):
        for i in range(2):
            total = max((-(-sizes[i] // stride[i]) - 1) * stride[i] + kernel[i] - sizes[i], 0)
            begin[i] = total // 2 if automatic == "SAME_UPPER" else -(-total // 2)
            end[i] = total - begin[i]
    elif automatic == "NOTSET":
        pads = [int(pad) for pad in node.attributes.get("pads", [0, 0, 0, 0])]
        begin, end = pads[:2], pads[2:]
    if min(*begin, *end) < 0:
        raise CannotServeError("its padding is negative", "padding that is not")
    padding = [max(first, last) for first, last in zip(begin, end, strict=True)]
    if math.prod(extent + 2 * pad for extent, pad in zip(sizes, padding, strict=True)) > MAX_PADDED:
        raise CannotServeError(f"it pads by {tuple(padding)}", "padding of half a kernel")
    missing = [(padding[i] - begin[i], padding[i] - end[i]) for i in range(2)]
    return np.pad(weights, ((0, 0), (0, 0), *missing)), (padding[0], padding[1])
