"""A model as a JSON file, for `blindproof publish`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeAlias

import numpy as np
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag, ValidationError

from blindproof.description import Description
from blindproof.file_errors import explain
from blindproof.layer_file import LayerFile, Number
from blindproof.network_publishing import NetworkModel
from blindproof.publishing import LinearModel
from fhe_layers.spec import LayerSpec, NetworkSpec
from protocol.about import About
from protocol.errors import ModelError, ShapeError
from protocol.features import Category, Column, Feature, Privacy, Thermometer
from protocol.parameters import Mode, Packing

_OF_LINEAR_MODELS = ("intercept", "packings")
_OF_NETWORKS = ("shape",)


Links: TypeAlias = Literal[
    "identity", "logistic", "sign", "argmax", "softmax", "probability", "exp"
]
Monomials: TypeAlias = list[list[int]]


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")


class NumberFile(_Entry):
    """One number: raw values in [low, high] are scaled to (raw - centre) / scale."""

    kind: Literal["number"] = "number"
    name: str
    low: Number
    high: Number
    centre: Number = 0.0
    scale: Number = 1.0
    privacy: Privacy = Privacy.ENCRYPTED
    missing: Number | None = None
    measured_in: str = ""

    def column(self) -> Column:
        """The column.  Raises ModelError."""
        return Feature(
            self.name,
            self.low,
            self.high,
            self.centre,
            self.scale,
            privacy=self.privacy,
            missing=self.missing,
            measured_in=self.measured_in,
        )


class ThermometerFile(_Entry):
    """One number compared with edges: an input for each, 1 above it and 0 else."""

    kind: Literal["thermometer"]
    name: str
    low: Number
    high: Number
    edges: list[Number]
    privacy: Privacy = Privacy.ENCRYPTED
    missing: Number | None = None
    measured_in: str = ""

    def column(self) -> Column:
        """The column.  Raises ModelError."""
        return Thermometer(
            self.name,
            self.low,
            self.high,
            tuple(self.edges),
            privacy=self.privacy,
            missing=self.missing,
            measured_in=self.measured_in,
        )


class CategoryFile(_Entry):
    """One of some categories: an input for each, 1 for the one and 0 for the others."""

    kind: Literal["category"]
    name: str
    categories: list[str]
    privacy: Privacy = Privacy.ENCRYPTED
    missing: str | None = None

    def column(self) -> Column:
        """The column.  Raises ModelError."""
        return Category(self.name, tuple(self.categories), self.privacy, self.missing)


def _kind(entry: object) -> str:
    """What kind of column an entry of `features` is: a number unless it says so."""
    if isinstance(entry, dict):
        return str(entry.get("kind", "number"))
    return str(getattr(entry, "kind", "number"))


FeatureFile: TypeAlias = Annotated[
    Annotated[NumberFile, Tag("number")]
    | Annotated[ThermometerFile, Tag("thermometer")]
    | Annotated[CategoryFile, Tag("category")],
    Discriminator(_kind),
]


class AboutFile(_Entry):
    """What the publisher says of the model."""

    intended_use: str = ""
    training_data: str = ""
    licence: str = ""
    metrics: dict[str, Number] = {}

    def about(self) -> About:
        """The same for a card.  Raises ModelError."""
        metrics = tuple(self.metrics.items())
        return About(self.intended_use, self.training_data, self.licence, metrics)


class ModelFile(BaseModel):
    """A linear model, which has `weights`, or a network, which has `layers`.

    `weights` has one row per output, and one list is one output. The inputs are those of the
    features in order, or the monomials of `expansion`; with `shape` a network's are an image,
    channel by channel and row by row.
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
    link: Links = "identity"
    integer_labels: bool = False
    expansion: Monomials = []
    local: list[str] = []
    about: AboutFile = AboutFile()
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

    def _described(self) -> dict[str, Any]:
        """What both kinds of model have.  Raises ModelError."""
        return {
            "name": self.name,
            "version": self.version,
            "purpose": self.purpose,
            "features": tuple(feature.column() for feature in self.features),
            "outputs": tuple(self.outputs),
            "labels": tuple(self.labels),
            "link": self.link,
            "expansion": tuple(tuple(monomial) for monomial in self.expansion),
            "local": tuple(self.local),
            "about": self.about.about(),
            "integer_labels": self.integer_labels,
        }

    def _network(self, layers: list[LayerFile]) -> NetworkModel:
        described = self._described()
        shape = self.shape or (_inputs(described),)
        return NetworkModel(**described, network=NetworkSpec(shape, _specs(layers)))

    def _linear(self) -> LinearModel:
        """Raises ModelError: rows of different lengths, or not one per output."""
        weights = self.weights or []
        rows = [row if isinstance(row, list) else [row] for row in weights]
        if weights and not isinstance(weights[0], list):
            rows = [[value for row in rows for value in row]]
        intercept = self.intercept if isinstance(self.intercept, list) else [self.intercept]
        described = self._described()
        columns = _inputs(described)
        if len(rows) != len(self.outputs) or any(len(row) != columns for row in rows):
            raise ModelError(
                f"weights: expected {len(self.outputs)} rows of {columns} numbers, one per output"
            )
        if len(intercept) != len(rows):
            raise ModelError(f"intercept: expected {len(rows)} numbers, found {len(intercept)}")
        return LinearModel(
            **described,
            weights=np.array(rows, dtype=np.float64),
            intercept=np.array(intercept, dtype=np.float64),
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


def _inputs(described: dict[str, Any]) -> int:
    """K of a model that is described so."""
    return Description(**described).inputs


def _specs(layers: list[LayerFile]) -> tuple[LayerSpec, ...]:
    """The layers of a network.  Raises ModelError, naming the layer."""
    specs = []
    for index, layer in enumerate(layers):
        try:
            specs.append(layer.spec())
        except (ModelError, ShapeError) as error:
            raise ModelError(f"layer {index} ({layer.kind}): {error}") from None
    return tuple(specs)
