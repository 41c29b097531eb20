"""A model as the JSON document that `blindproof.model_file` reads."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from blindproof.network_publishing import NetworkModel
from blindproof.publishing import LinearModel
from fhe_layers.spec import (
    AddSpec,
    BatchNormSpec,
    Conv2dSpec,
    DenseSpec,
    FlattenSpec,
    GatherSpec,
    GroupedSelectionSpec,
    LayerSpec,
    MulSpec,
    PolynomialSpec,
    PoolSpec,
    ScaleSpec,
    SelectionSpec,
)
from protocol.features import Category, Column, Feature, Thermometer
from protocol.parameters import Mode, Packing
from wire.files import write_private

Document: TypeAlias = dict[str, Any]

_ENTRIES: dict[type[LayerSpec], tuple[str, ...]] = {
    DenseSpec: ("weights", "bias"),
    Conv2dSpec: ("weights", "bias", "stride", "padding"),
    BatchNormSpec: ("gamma", "beta", "mean", "variance", "epsilon"),
    PoolSpec: ("kernel", "stride"),
    FlattenSpec: (),
    PolynomialSpec: ("coefficients",),
    ScaleSpec: ("factor",),
    SelectionSpec: ("units", "positions"),
    GroupedSelectionSpec: ("units",),
    GatherSpec: ("units",),
}


def write_model_file(
    path: Path, model: LinearModel | NetworkModel, mode: Mode, packings: Sequence[Packing]
) -> None:
    """Write a file that only its owner can read: it holds the weights.  Raises OSError."""
    text = json.dumps(document_of(model, mode, packings), ensure_ascii=False, indent=1)
    write_private(path, text.encode())


def document_of(
    model: LinearModel | NetworkModel, mode: Mode, packings: Sequence[Packing]
) -> Document:
    """The document; what has its default is left out.  Doubles are written exactly."""
    about = model.about
    document: Document = {
        "name": model.name,
        "version": model.version,
        "purpose": model.purpose,
        "mode": str(mode),
        "features": [_column(column) for column in model.features],
        "outputs": list(model.outputs),
        "labels": list(model.labels),
        "link": model.link,
        "integer_labels": model.integer_labels,
        "expansion": [list(monomial) for monomial in model.expansion],
        "local": list(model.local),
        "about": {
            "intended_use": about.intended_use,
            "training_data": about.training_data,
            "licence": about.licence,
            "metrics": dict(about.metrics),
        },
    }
    if isinstance(model, LinearModel):
        document |= {
            "packings": [str(packing) for packing in packings],
            "weights": model.weights.tolist(),
            "intercept": model.intercept.tolist(),
        }
        return document
    if len(model.network.shape) == 3:
        document["shape"] = list(model.network.shape)
    return document | {"layers": [_layer(layer) for layer in model.network.layers]}


def _column(column: Column) -> Document:
    entry: Document = {"name": column.name, "privacy": str(column.privacy)}
    if column.missing is not None:
        entry["missing"] = column.missing
    if isinstance(column, Category):
        return entry | {"kind": "category", "categories": list(column.categories)}
    entry |= {"low": column.low, "high": column.high, "measured_in": column.measured_in}
    if isinstance(column, Thermometer):
        return entry | {"kind": "thermometer", "edges": list(column.edges)}
    return entry | _scaling(column)


def _scaling(column: Feature) -> Document:
    return {"kind": "number", "centre": column.centre, "scale": column.scale}


def _layer(layer: LayerSpec) -> Document:
    entry: Document = {"kind": layer.name}
    if isinstance(layer, AddSpec | MulSpec):
        return entry | {"left": layer.left, "right": layer.right}
    if layer.source is not None:
        entry["source"] = layer.source
    return entry | _numbers(layer)


def _numbers(layer: LayerSpec) -> Document:
    """What a kind of layer has besides its source."""
    if isinstance(layer, PolynomialSpec) and layer.name == "square":
        return {}
    return {entry: _plain(getattr(layer, entry)) for entry in _ENTRIES[type(layer)]}


def _plain(value: object) -> object:
    """An array or a tuple as a list."""
    if isinstance(value, np.ndarray):
        return value.tolist()
    return list(value) if isinstance(value, tuple) else value
