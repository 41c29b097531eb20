"""Remove from a network what costs nothing encrypted, without changing what it computes.

A batch normalisation disappears into the dense layer or convolution before it, two dense layers in
a row become one. What would spend scale for nothing is refused with what to write instead: a
linear layer on a linear layer, a normalisation with nothing to disappear into.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

from fhe_layers.spec import (
    AddSpec,
    BatchNormSpec,
    DenseSpec,
    FlattenSpec,
    LayerSpec,
    MulSpec,
    NetworkSpec,
    PoolSpec,
    ScaleSpec,
    WeightsSpec,
    require_sized,
)
from protocol.errors import ModelError, NonFiniteError


def fold(spec: NetworkSpec) -> NetworkSpec:
    """The same function without batch normalisation and with one dense layer where two met.

    Raises:
        ShapeError, NonFiniteError: the layers do not fit together.
        ModelError: a layer cannot be folded; the message says what to change.
    """
    readers = Counter(
        tensor for index in range(len(spec.shapes) - 1) for tensor in spec.sources(index)
    )
    folded: list[LayerSpec] = []
    place = [0]  # of every tensor of `spec`: the tensor of the result that stands for it
    for index, layer in enumerate(spec.layers):
        given = spec.sources(index)
        source = place[given[0]]
        before = folded[source - 1] if source and readers[given[0]] == 1 else None
        if isinstance(layer, BatchNormSpec):
            if not isinstance(before, WeightsSpec):
                raise ModelError(
                    f"layer {index} (batch_norm) must follow a dense or conv2d layer that nothing "
                    "else reads: move it there, before activation and pooling"
                )
            folded[source - 1] = _sized(index, layer, _normalised(before, layer))
            place.append(source)
        elif isinstance(layer, DenseSpec) and isinstance(before, DenseSpec):
            folded[source - 1] = _sized(index, layer, _fused(before, layer))
            place.append(source)
        else:
            if isinstance(layer, WeightsSpec) and before is not None:
                _require_activation(index, layer, folded, source)
            folded.append(_moved(layer, [place[tensor] for tensor in given]))
            place.append(len(folded))
    return NetworkSpec(spec.shape, tuple(folded))


def _normalised(layer: WeightsSpec, norm: BatchNormSpec) -> WeightsSpec:
    """The layer with the normalisation of its result in its weights."""
    factor, constant = norm.factors
    column = factor.reshape(-1, *(1,) * (layer.weights.ndim - 1))
    return replace(layer, weights=layer.weights * column, bias=layer.bias * factor + constant)


def _fused(first: DenseSpec, second: DenseSpec) -> DenseSpec:
    """second(first(x)) as one layer."""
    bias = second.weights @ first.bias + second.bias
    return DenseSpec(second.weights @ first.weights, bias, first.source)


def _sized(index: int, layer: LayerSpec, folded: WeightsSpec) -> WeightsSpec:
    """The folded layer.  Raises ModelError: its numbers are too large, naming what did it."""
    try:
        require_sized(folded.weights)
        require_sized(folded.bias)
    except (ModelError, NonFiniteError) as error:
        raise ModelError(
            f"layer {index} ({layer.name}) folded into the layer before it: {error}"
        ) from None
    return folded


def _require_activation(
    index: int, layer: WeightsSpec, folded: list[LayerSpec], tensor: int
) -> None:
    """Refuse weights that only shape, pooling or a factor separates from weights before them.

    Raises:
        ModelError: naming both layers.
    """
    while tensor:
        before = folded[tensor - 1]
        if isinstance(before, WeightsSpec):
            raise ModelError(
                f"layer {index} ({layer.name}) and the {before.name} layer before it have no "
                "activation between them: write them as one layer, or put a square between them"
            )
        if not isinstance(before, FlattenSpec | PoolSpec | ScaleSpec):
            return
        tensor = before.source or 0


def _moved(layer: LayerSpec, given: list[int]) -> LayerSpec:
    """The layer reading these tensors."""
    if isinstance(layer, AddSpec | MulSpec):
        return replace(layer, left=given[0], right=given[1])
    return replace(layer, source=given[0])
