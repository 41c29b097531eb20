"""The layers of a network as a JSON model file writes them.

A layer reads the one before it unless `source` names a tensor: 0 is the input, i + 1 what layer i
makes. Sums and products name both of theirs, `left` and `right`.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeAlias

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field

from fhe_layers.spec import (
    LARGEST_NUMBER,
    SQUARE,
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
from protocol.errors import ModelError

Number = Annotated[float, Field(allow_inf_nan=False, ge=-LARGEST_NUMBER, le=LARGEST_NUMBER)]
Pair: TypeAlias = tuple[int, int]


class _Layer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class DenseFile(_Layer):
    """weights x + bias, one row per unit; no bias is a bias of zero."""

    kind: Literal["dense"]
    weights: list[list[Number]] = Field(repr=False)
    bias: list[Number] | None = Field(default=None, repr=False)
    source: int | None = None

    def spec(self) -> LayerSpec:
        """The layer.  Raises ModelError."""
        weights = _array(self.weights, 2)
        return DenseSpec(weights, _bias(self.bias, len(weights)), self.source)


class Conv2dFile(_Layer):
    """weights (output channel, input channel, row, column)."""

    kind: Literal["conv2d"]
    weights: list[list[list[list[Number]]]] = Field(repr=False)
    bias: list[Number] | None = Field(default=None, repr=False)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    source: int | None = None

    def spec(self) -> LayerSpec:
        """The layer.  Raises ModelError."""
        weights = _array(self.weights, 4)
        bias = _bias(self.bias, len(weights))
        return Conv2dSpec(weights, bias, self.stride, self.padding, self.source)


class BatchNormFile(_Layer):
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, per channel."""

    kind: Literal["batch_norm"]
    gamma: list[Number] = Field(repr=False)
    beta: list[Number] = Field(repr=False)
    mean: list[Number] = Field(repr=False)
    variance: list[Number] = Field(repr=False)
    epsilon: Number = 1e-5
    source: int | None = None

    def spec(self) -> LayerSpec:
        """The layer."""
        numbers = (self.gamma, self.beta, self.mean, self.variance)
        gamma, beta, mean, variance = (np.array(number, dtype=np.float64) for number in numbers)
        return BatchNormSpec(gamma, beta, mean, variance, self.epsilon, self.source)


class PoolFile(_Layer):
    """Average or sum of each window; windows do not overlap unless `stride` says so."""

    kind: Literal["average_pool", "sum_pool"]
    kernel: Pair
    stride: Pair | None = None
    source: int | None = None

    def spec(self) -> LayerSpec:
        """The layer."""
        average = self.kind == "average_pool"
        return PoolSpec(self.kernel, self.stride or self.kernel, average, self.source)


class PlainFile(_Layer):
    """Layers without numbers."""

    kind: Literal["flatten", "square"]
    source: int | None = None

    def spec(self) -> LayerSpec:
        """The layer."""
        if self.kind == "square":
            return PolynomialSpec(SQUARE, self.source)
        return FlattenSpec(self.source)


class PolynomialFile(_Layer):
    """c_0 + c_1 x + ... of degree 1 to 4; the coefficients are public."""

    kind: Literal["polynomial"]
    coefficients: list[Number]
    source: int | None = None

    def spec(self) -> LayerSpec:
        """The layer."""
        return PolynomialSpec(tuple(self.coefficients), self.source)


class ScaleFile(_Layer):
    """A public factor."""

    kind: Literal["scale"]
    factor: Number
    source: int | None = None

    def spec(self) -> LayerSpec:
        """The layer."""
        return ScaleSpec(self.factor, self.source)


class SelectionFile(_Layer):
    """A private choice of channels, `positions` units each."""

    kind: Literal["selection"]
    units: list[int] = Field(repr=False)
    positions: int = 1
    source: int | None = None

    def spec(self) -> LayerSpec:
        """The layer."""
        return SelectionSpec(tuple(self.units), self.source, self.positions)


class GroupedSelectionFile(_Layer):
    """A private choice in every group of the source, one group a unit."""

    kind: Literal["grouped_selection"]
    units: list[int] = Field(repr=False)
    source: int | None = None

    def spec(self) -> LayerSpec:
        """The layer."""
        return GroupedSelectionSpec(tuple(self.units), self.source)


class GatherFile(_Layer):
    """A public choice of units."""

    kind: Literal["gather"]
    units: list[int]
    source: int | None = None

    def spec(self) -> LayerSpec:
        """The layer."""
        return GatherSpec(tuple(self.units), self.source)


class PairFile(_Layer):
    """A sum or a product of two tensors."""

    kind: Literal["add", "mul"]
    left: int
    right: int

    def spec(self) -> LayerSpec:
        """The layer."""
        if self.kind == "add":
            return AddSpec(self.left, self.right)
        return MulSpec(self.left, self.right)


LayerFile: TypeAlias = Annotated[
    DenseFile
    | Conv2dFile
    | BatchNormFile
    | PoolFile
    | PlainFile
    | PolynomialFile
    | ScaleFile
    | SelectionFile
    | GroupedSelectionFile
    | GatherFile
    | PairFile,
    Field(discriminator="kind"),
]


def _array(nested: object, dimensions: int) -> npt.NDArray[np.float64]:
    try:
        numbers = np.array(nested, dtype=np.float64)
    except ValueError:
        numbers = np.zeros(0)
    if numbers.ndim != dimensions or not numbers.size:
        raise ModelError("its weights have rows of different lengths, or none")
    return numbers


def _bias(given: list[float] | None, units: int) -> npt.NDArray[np.float64]:
    return np.zeros(units) if given is None else np.array(given, dtype=np.float64)
