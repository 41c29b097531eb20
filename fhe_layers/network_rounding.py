"""What rounding a network's weights can change, as a bound over every input in its ranges.

Two bounds go through the network together: v on the magnitude of every unit of the real network,
and d on the distance to the rounded one. They are worst cases, and with depth far above what is
seen on data.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from fhe_layers import plaintext
from fhe_layers.quantise_network import QuantisedNetwork
from fhe_layers.spec import (
    Floats,
    LayerSpec,
    MulSpec,
    PolynomialSpec,
    ScaleSpec,
    TensorShape,
    WeightsSpec,
)


@dataclass(frozen=True, eq=False)
class NetworkRounding:
    """How far the integer network is from the real one, in the real outputs' units.

    Attributes:
        errors: float64 (J,); no input in the declared ranges moves an output by more. Not finite
            where no bound is a float.
        ranges: float64 (J,); no output is larger in magnitude.
        lost: weights that are not zero and became zero.
    """

    errors: Floats
    ranges: Floats
    lost: int


def network_rounding(quantised: QuantisedNetwork, input_bounds: Floats) -> NetworkRounding:
    """Bound what quantising did, for inputs within +-input_bounds, float64 (K,)."""
    real, rounded = quantised.folded, quantised.rounded
    values, distances = [input_bounds[None, :]], [np.zeros((1, real.inputs))]
    for index, layer in enumerate(real.layers):
        given = real.sources(index)
        with np.errstate(over="ignore", invalid="ignore"):  # an unbounded error is an answer
            value, distance = _through(
                layer,
                rounded.layers[index],
                [values[tensor] for tensor in given],
                [distances[tensor] for tensor in given],
                real.shapes[given[0]],
            )
        values.append(np.asarray(value, dtype=np.float64))
        distances.append(np.asarray(distance, dtype=np.float64))
    return NetworkRounding(distances[-1][0], values[-1][0], quantised.lost)


def _through(
    layer: LayerSpec,
    rounded: LayerSpec,
    values: Sequence[Floats],
    distances: Sequence[Floats],
    shape: TensorShape,
) -> tuple[plaintext.Array, plaintext.Array]:
    """(v, d) of a layer's result from those of its sources, (1, units) each."""
    v, d = values[0], distances[0]
    if isinstance(layer, WeightsSpec) and isinstance(rounded, WeightsSpec):
        return _through_weights(layer, rounded, v, d, shape)
    if isinstance(layer, PolynomialSpec) and isinstance(rounded, PolynomialSpec):
        return _through_polynomial(layer.coefficients, rounded.coefficients, v, d)
    if isinstance(layer, MulSpec):
        cross = v * distances[1] + values[1] * d + d * distances[1]
        return v * values[1], cross
    if isinstance(layer, ScaleSpec):
        layer = replace(layer, factor=abs(layer.factor))
    # What is left is linear with coefficients that are not negative and the same in both.
    return layer.result(values, shape), layer.result(distances, shape)


def _through_weights(
    real: WeightsSpec,
    rounded: WeightsSpec,
    v: Floats,
    d: Floats,
    shape: TensorShape,
) -> tuple[plaintext.Array, plaintext.Array]:
    """|w| v + |b|, and |w'| d + |w - w'| v + |b - b'|."""
    reached = real.affine(np.abs(real.matrix), np.abs(real.bias), v, shape)
    moved = real.affine(
        np.abs(real.matrix - rounded.matrix), np.abs(real.bias - rounded.bias), v, shape
    )
    carried = real.affine(np.abs(rounded.matrix), np.zeros_like(real.bias), d, shape)
    return reached, moved + carried


def _through_polynomial(
    real: Sequence[float], rounded: Sequence[float], v: Floats, d: Floats
) -> tuple[plaintext.Array, plaintext.Array]:
    """|p|(v), and |p'|(v + d) - |p'|(v) + |p - p'|(v), where |p| has the coefficients' sizes."""
    sizes = [abs(c) for c in rounded]
    off = [abs(a - b) for a, b in zip(real, rounded, strict=True)]
    spread = plaintext.polynomial(v + d, sizes) - plaintext.polynomial(v, sizes)
    return plaintext.polynomial(v, [abs(c) for c in real]), spread + plaintext.polynomial(v, off)
