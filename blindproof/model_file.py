"""A model as a JSON file, for `blindproof publish`."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from blindproof.file_errors import explain
from blindproof.layer_file import LayerFile, Number
from blindproof.network_publishing import NetworkModel
from blindproof.publishing import LinearModel
from fhe_layers.spec import LayerSpec, NetworkSpec
from protocol.errors import ModelError, ShapeError
from protocol.model import Feature
from protocol.parameters import Mode, Packing

_OF_LINEAR_MODELS = ("intercept", "packings")
_OF_NETWORKS = ("shape",)


class FeatureFile(BaseModel):
    """One column: raw values in [low, high] are scaled to (raw - centre) / scale."""

    model_config = ConfigDict(extra="forbid")

    name: str
    low: Number
    high: Number
    centre: Number = 0.0
    scale: Number = 1.0


class ModelFile(BaseModel):
    """A linear model, which has `weights`, or a network, which has `layers`.

    `weights` has one row per output, and one list is one output. A network's inputs are the
    features in order; with `shape` they are an image, channel by channel and row by row.
    """

    model_config = ConfigDict(extra="forbid")

    name: str
    version: str = "1"
    purpose: str = ""
    features: list[FeatureFile]
    weights: list[list[Number]] | list[Number] | None = Field(default=None, repr=False)
    intercept: list[Number] | Number = Field(default=0.0, repr=False)
    shape: tuple[int, int, int] | None = None
    layers: list[LayerFile] | None = None
    outputs: list[str] = ["output"]
    labels: list[str] = []
    link: Literal["identity", "logistic", "argmax"] = "identity"
    mode: Mode = Mode.PRIVATE
    packings: list[Packing] = [Packing.BATCH, Packing.SINGLE]

    def model(self) -> LinearModel | NetworkModel:
        """What the file describes.

        Raises:
            ModelError: both or neither of weights and layers; numbers that do not fit; or an entry
                that means nothing for this kind of model.
        """
        if (self.weights is None) == (self.layers is None):
            raise ModelError("a model file has either weights, of a linear model, or layers")
        if self.layers is None:
            self._refuse(_OF_NETWORKS, "a linear model")
            return self._linear()
        self._refuse(_OF_LINEAR_MODELS, "a network")
        return self._network(self.layers)

    def _refuse(self, entries: tuple[str, ...], kind: str) -> None:
        """Raises ModelError: one of the entries was given."""
        for entry in entries:
            if entry in self.model_fields_set and getattr(self, entry) is not None:
                advice = "; `publish --packing` chooses" if entry == "packings" else ""
                raise ModelError(f"{kind} has no '{entry}'{advice}")

    def _network(self, layers: list[LayerFile]) -> NetworkModel:
        shape = self.shape or (len(self.features),)
        return NetworkModel(
            name=self.name,
            version=self.version,
            purpose=self.purpose,
            features=self._features(),
            network=NetworkSpec(shape, _specs(layers)),
            outputs=tuple(self.outputs),
            labels=tuple(self.labels),
            link=self.link,
        )

    def _features(self) -> tuple[Feature, ...]:
        return tuple(Feature(f.name, f.low, f.high, f.centre, f.scale) for f in self.features)

    def _linear(self) -> LinearModel:
        """Raises ModelError: rows of different lengths, or not one per output."""
        weights = self.weights or []
        rows = [row if isinstance(row, list) else [row] for row in weights]
        if weights and not isinstance(weights[0], list):
            rows = [[value for row in rows for value in row]]
        intercept = self.intercept if isinstance(self.intercept, list) else [self.intercept]
        columns = len(self.features)
        if len(rows) != len(self.outputs) or any(len(row) != columns for row in rows):
            raise ModelError(
                f"weights: expected {len(self.outputs)} rows of {columns} numbers, one per output"
            )
        if len(intercept) != len(rows):
            raise ModelError(f"intercept: expected {len(rows)} numbers, found {len(intercept)}")
        return LinearModel(
            name=self.name,
            version=self.version,
            purpose=self.purpose,
            features=self._features(),
            weights=np.array(rows, dtype=np.float64),
            intercept=np.array(intercept, dtype=np.float64),
            outputs=tuple(self.outputs),
            labels=tuple(self.labels),
            link=self.link,
        )


def read_model_file(path: Path) -> ModelFile:
    """Read a JSON file.

    Raises:
        ModelError: it cannot be read or is not such a file.
    """
    try:
        return ModelFile.model_validate_json(path.read_bytes())
    except OSError as error:
        raise ModelError(f"{path}: {error.strerror}") from error
    except ValidationError as error:
        # The cause would show the file's numbers.
        raise ModelError(f"{path}: {explain(error)}") from None


def _specs(layers: list[LayerFile]) -> tuple[LayerSpec, ...]:
    """The layers of a network.  Raises ModelError, naming the layer."""
    specs = []
    for index, layer in enumerate(layers):
        try:
            specs.append(layer.spec())
        except (ModelError, ShapeError) as error:
            raise ModelError(f"layer {index} ({layer.kind}): {error}") from None
    return tuple(specs)
