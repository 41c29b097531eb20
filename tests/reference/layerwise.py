"""Networks layer by layer from their definitions, over anything that adds and multiplies.

A value is a Python integer, or an object with ``value + value``, ``value * value`` and the same
with integers on the right. What a layer does is written here from its description; nothing is taken
from the lowered nodes that evaluation and proof use.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from protocol.graph import (
    Add,
    Conv2d,
    Dense,
    Gather,
    Graph,
    GroupedSelection,
    Mul,
    Polynomial,
    Scale,
    Selection,
    SumPool,
)

WEIGHT_BITS = 15


def evaluate(
    graph: Graph, integers: Sequence[int], inputs: Sequence[Any], input_scale_log2: int
) -> list[tuple[list[Any], int]]:
    """Every tensor of the network with log2 of its scale, the inputs first."""
    weights = list(map(int, integers))
    tensors, scales, offset = [list(inputs)], [input_scale_log2], 0
    for layer in graph.layers:
        sources = [tensors[i] for i in layer.sources]
        levels = [scales[i] for i in layer.sources]
        x, scale = sources[0], levels[0]
        if isinstance(layer, Dense):
            rows = _take(weights, offset, layer.units, len(x) + 1)
            offset += layer.units * (len(x) + 1)
            result = [_sum(zip(row, x, strict=False)) + (row[-1] << scale) for row in rows]
            scale += WEIGHT_BITS
        elif isinstance(layer, Selection):
            channels = len(x) // layer.positions
            rows = _take(weights, offset, layer.units, channels)
            offset += layer.units * channels
            result = [
                _sum(zip(row, x[position :: layer.positions], strict=True))
                for row in rows
                for position in range(layer.positions)
            ]
        elif isinstance(layer, GroupedSelection):
            columns = len(x) // layer.groups
            rows = _take(weights, offset, layer.groups, columns)
            offset += layer.groups * columns
            result = [
                _sum(zip(row, x[group * columns :][:columns], strict=True))
                for group, row in enumerate(rows)
            ]
        elif isinstance(layer, Gather):
            result = [x[unit] for unit in layer.units]
        elif isinstance(layer, Conv2d):
            rows = _take(weights, offset, layer.channels, layer.taps + 1)
            offset += layer.channels * (layer.taps + 1)
            result = _convolution(layer, rows, x, scale)
            scale += WEIGHT_BITS
        elif isinstance(layer, SumPool):
            result = _pool(layer, x)
        elif isinstance(layer, Scale):
            result = [value * layer.factor for value in x]
        elif isinstance(layer, Polynomial):
            result = [_polynomial(layer, value, scale) for value in x]
            scale = layer.degree * scale + layer.coefficient_bits
        elif isinstance(layer, Add):
            scale = max(levels)
            aligned = [
                [value * (1 << (scale - level)) for value in source]
                for source, level in zip(sources, levels, strict=True)
            ]
            result = [a + b for a, b in zip(*aligned, strict=True)]
        else:
            assert isinstance(layer, Mul)
            result = [a * b for a, b in zip(*sources, strict=True)]
            scale = sum(levels)
        tensors.append(result)
        scales.append(scale)
    assert offset == len(weights)
    return list(zip(tensors, scales, strict=True))


def _take(integers: list[int], offset: int, rows: int, width: int) -> list[list[int]]:
    return [integers[offset + row * width :][:width] for row in range(rows)]


def _sum(pairs: Any) -> Any:
    """``sum weight * value`` without the terms of weight zero, unless there are no others."""
    terms = [(weight, value) for weight, value in pairs]
    kept = [value * weight for weight, value in terms if weight] or [terms[0][1] * 0]
    total = kept[0]
    for term in kept[1:]:
        total = total + term
    return total


def _convolution(layer: Conv2d, rows: list[list[int]], x: list[Any], scale: int) -> list[Any]:
    channels, height, width = layer.shape
    result = []
    for row in rows:
        for y in range(layer.places[0]):
            for z in range(layer.places[1]):
                pairs = []
                for c in range(channels):
                    for dy in range(layer.kernel[0]):
                        for dz in range(layer.kernel[1]):
                            v = y * layer.stride[0] + dy - layer.padding[0]
                            h = z * layer.stride[1] + dz - layer.padding[1]
                            if 0 <= v < height and 0 <= h < width:
                                tap = (c * layer.kernel[0] + dy) * layer.kernel[1] + dz
                                pairs.append((row[tap], x[(c * height + v) * width + h]))
                result.append(_sum(pairs) + (row[-1] << scale))
    return result


def _pool(layer: SumPool, x: list[Any]) -> list[Any]:
    channels, height, width = layer.shape
    return [
        _sum(
            (1, x[(c * height + y * layer.stride[0] + dy) * width + z * layer.stride[1] + dz])
            for dy in range(layer.kernel[0])
            for dz in range(layer.kernel[1])
        )
        for c in range(channels)
        for y in range(layer.places[0])
        for z in range(layer.places[1])
    ]


def _polynomial(layer: Polynomial, x: Any, scale: int) -> Any:
    """Powers first, then their combination; the constant comes last, as an integer."""
    powers = [x]
    for _ in range(layer.degree - 1):
        powers.append(powers[-1] * x)
    terms = [
        (coefficient << (layer.degree - i) * scale, powers[i - 1])
        for i, coefficient in enumerate(layer.coefficients)
        if i > 0
    ]
    return _sum(terms) + (layer.coefficients[0] << layer.degree * scale)
