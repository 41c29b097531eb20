"""A trained network as it comes out of training: layers with real weights.

Tensor 0 is the input and layer i makes tensor i + 1; a layer reads the tensor before it unless its
`source` names another, which is how residual connections are written. Nothing is checked before
`NetworkSpec.shapes` is asked for. `fhe_layers.folding` then removes what costs nothing encrypted,
and `fhe_layers.quantise_network` makes the integer network that is committed.

Every layer says the shape of its result, and its result on plain records (records, units). Numbers
may be given as lists: they become arrays in double precision.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import ClassVar, TypeAlias

import numpy as np
import numpy.typing as npt

from fhe_layers import plaintext
from fhe_layers.plaintext import Array, Pair
from protocol.errors import BlindproofError, ModelError, NonFiniteError, ShapeError

Floats: TypeAlias = npt.NDArray[np.float64]
TensorShape: TypeAlias = tuple[int, ...]
"""(units,) or (channels, height, width)."""

LARGEST_NUMBER = 2.0**64
"""Weights and parameters are no larger. Trained ones are nowhere near, and units stay floats."""


@dataclass(frozen=True, eq=False)
class DenseSpec:
    """weights x + bias: float64 (J, K) and (J,)."""

    weights: Floats = field(repr=False)
    bias: Floats = field(repr=False)
    source: int | None = None
    name: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        _take_numbers(self, "weights", "bias")

    @property
    def matrix(self) -> Floats:
        """Weights as they are committed: (J, K)."""
        return self.weights

    def result_shape(self, given: Sequence[TensorShape]) -> TensorShape:
        """Raises ShapeError, NonFiniteError, ModelError."""
        units = math.prod(given[0])
        if self.weights.ndim != 2 or not self.weights.size:
            raise ShapeError(f"weights of shape {self.weights.shape}, expected (units, {units})")
        if self.weights.shape[1] != units:
            raise ShapeError(f"weights of {self.weights.shape[1]} columns for {units} units")
        _require_bias(self.weights, self.bias)
        return (len(self.weights),)

    def affine(self, matrix: Array, bias: Array, inputs: Array, shape: TensorShape) -> Array:
        """The layer with other numbers, (J, K) and (J,), which is what bounds need."""
        del shape
        return plaintext.dense(inputs, matrix, bias)

    def result(self, given: Sequence[Array], shape: TensorShape) -> Array:
        """(records, K) -> (records, J)."""
        return self.affine(self.matrix, self.bias, given[0], shape)


@dataclass(frozen=True, eq=False)
class Conv2dSpec:
    """A convolution, zero padded: weights float64 (O, C, kh, kw), bias (O,)."""

    weights: Floats = field(repr=False)
    bias: Floats = field(repr=False)
    stride: Pair = (1, 1)
    padding: Pair = (0, 0)
    source: int | None = None
    name: ClassVar[str] = "conv2d"

    def __post_init__(self) -> None:
        _take_numbers(self, "weights", "bias")

    @property
    def kernel(self) -> Pair:
        """(kh, kw)."""
        return self.weights.shape[2], self.weights.shape[3]

    @property
    def matrix(self) -> Floats:
        """Weights as they are committed: (O, C kh kw)."""
        return self.weights.reshape(len(self.weights), -1)

    def result_shape(self, given: Sequence[TensorShape]) -> TensorShape:
        """Raises ShapeError, NonFiniteError, ModelError."""
        image = image_shape(given[0])
        if self.weights.ndim != 4 or not self.weights.size or self.weights.shape[1] != image[0]:
            raise ShapeError(
                f"weights of shape {self.weights.shape}, expected (channels, {image[0]}, height, "
                "width)"
            )
        _require_bias(self.weights, self.bias)
        places = _places(image, self.kernel, self.stride, self.padding)
        return (len(self.weights), *places)

    def affine(self, matrix: Array, bias: Array, inputs: Array, shape: TensorShape) -> Array:
        """The layer with other numbers, (O, C kh kw) and (O,), which is what bounds need."""
        window = {"kernel": self.kernel, "stride": self.stride, "padding": self.padding}
        return plaintext.conv2d(inputs, image_shape(shape), matrix, bias, **window)

    def result(self, given: Sequence[Array], shape: TensorShape) -> Array:
        """(records, C H W) -> (records, O H' W')."""
        return self.affine(self.matrix, self.bias, given[0], shape)


@dataclass(frozen=True, eq=False)
class BatchNormSpec:
    """gamma (x - mean) / sqrt(variance + epsilon) + beta, per channel or per unit."""

    gamma: Floats = field(repr=False)
    beta: Floats = field(repr=False)
    mean: Floats = field(repr=False)
    variance: Floats = field(repr=False)
    epsilon: float = 1e-5
    source: int | None = None
    name: ClassVar[str] = "batch_norm"

    def __post_init__(self) -> None:
        _take_numbers(self, "gamma", "beta", "mean", "variance")

    @property
    def factors(self) -> tuple[Floats, Floats]:
        """(a, c) of the same function written a x + c."""
        factor = self.gamma / np.sqrt(self.variance + self.epsilon)
        return factor, self.beta - factor * self.mean

    def result_shape(self, given: Sequence[TensorShape]) -> TensorShape:
        """Raises ShapeError, NonFiniteError, ModelError."""
        numbers = (self.gamma, self.beta, self.mean, self.variance)
        if any(number.shape != given[0][:1] for number in numbers):
            raise ShapeError(f"expected {given[0][0]} of each parameter, one per channel")
        for number in numbers:
            require_sized(number)
        if not (self.variance + self.epsilon > 0).all():
            raise ShapeError("variances must be positive")
        for number in self.factors:
            require_sized(number)
        return given[0]

    def result(self, given: Sequence[Array], shape: TensorShape) -> Array:
        """Unit by unit."""
        factor, constant = (np.repeat(number, math.prod(shape[1:])) for number in self.factors)
        return given[0] * factor + constant


@dataclass(frozen=True)
class PoolSpec:
    """The average, or the sum, of each window of each channel."""

    kernel: Pair
    stride: Pair
    average: bool = True
    source: int | None = None

    @property
    def name(self) -> str:
        """Its kind."""
        return "average_pool" if self.average else "sum_pool"

    @property
    def factor(self) -> float:
        """What a window's sum is multiplied with."""
        return 1 / math.prod(self.kernel) if self.average else 1.0

    def result_shape(self, given: Sequence[TensorShape]) -> TensorShape:
        """Raises ShapeError."""
        image = image_shape(given[0])
        return (image[0], *_places(image, self.kernel, self.stride, (0, 0)))

    def result(self, given: Sequence[Array], shape: TensorShape) -> Array:
        """(records, C H W) -> (records, C H' W')."""
        image = image_shape(shape)
        summed = plaintext.sum_pool(given[0], image, kernel=self.kernel, stride=self.stride)
        return summed * self.factor


@dataclass(frozen=True)
class FlattenSpec:
    """The same units without the shape."""

    source: int | None = None
    name: ClassVar[str] = "flatten"

    def result_shape(self, given: Sequence[TensorShape]) -> TensorShape:
        """One axis."""
        return (math.prod(given[0]),)

    def result(self, given: Sequence[Array], shape: TensorShape) -> Array:
        """As given."""
        del shape
        return given[0]


@dataclass(frozen=True)
class PolynomialSpec:
    """sum_i c_i x^i, unit by unit, with public coefficients; of degree 1 to 4."""

    coefficients: tuple[float, ...]
    source: int | None = None

    def __post_init__(self) -> None:
        object.__setattr__(self, "coefficients", tuple(self.coefficients))

    @property
    def name(self) -> str:
        """Its kind."""
        return "square" if self.coefficients == SQUARE else "polynomial"

    def result_shape(self, given: Sequence[TensorShape]) -> TensorShape:
        """Raises ShapeError, NonFiniteError, ModelError."""
        if not 2 <= len(self.coefficients) <= 5 or not self.coefficients[-1]:
            raise ShapeError("expected 2 to 5 coefficients, the last one not zero")
        require_sized(np.array(self.coefficients))
        return given[0]

    def result(self, given: Sequence[Array], shape: TensorShape) -> Array:
        """Unit by unit."""
        del shape
        return plaintext.polynomial(given[0], self.coefficients)


SQUARE = (0.0, 0.0, 1.0)
"""Coefficients of x^2, the cheapest activation."""


@dataclass(frozen=True)
class ScaleSpec:
    """A public factor."""

    factor: float
    source: int | None = None
    name: ClassVar[str] = "scale"

    def result_shape(self, given: Sequence[TensorShape]) -> TensorShape:
        """Raises ShapeError, NonFiniteError, ModelError."""
        require_sized(np.array([self.factor]))
        if not self.factor:
            raise ShapeError("the factor is zero")
        return given[0]

    def result(self, given: Sequence[Array], shape: TensorShape) -> Array:
        """Unit by unit."""
        del shape
        return given[0] * self.factor


@dataclass(frozen=True)
class SelectionSpec:
    """A private choice: channel n of the result is channel `units[n]` of the source.

    A channel is `positions` units which are taken together, unit c * positions + p. At one
    position, unit j of the result is unit `units[j]` of the source.
    """

    units: tuple[int, ...] = field(repr=False)
    source: int | None = None
    positions: int = 1
    name: ClassVar[str] = "selection"

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", tuple(self.units))

    def result_shape(self, given: Sequence[TensorShape]) -> TensorShape:
        """Raises ShapeError."""
        channels = _parts(math.prod(given[0]), self.positions)
        _require_choices(self.units, channels)
        return (len(self.units) * self.positions,)

    def result(self, given: Sequence[Array], shape: TensorShape) -> Array:
        """(records, channels positions) -> (records, units positions)."""
        del shape
        records = len(given[0])
        channels = given[0].reshape(records, -1, self.positions)
        return channels[:, list(self.units)].reshape(records, -1)


@dataclass(frozen=True)
class GroupedSelectionSpec:
    """A private choice in every group: unit g of the result is column `units[g]` of group g.

    The source is as many groups as there are choices, one after the other.
    """

    units: tuple[int, ...] = field(repr=False)
    source: int | None = None
    name: ClassVar[str] = "grouped_selection"

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", tuple(self.units))

    def result_shape(self, given: Sequence[TensorShape]) -> TensorShape:
        """Raises ShapeError."""
        columns = _parts(math.prod(given[0]), len(self.units))
        _require_choices(self.units, columns)
        return (len(self.units),)

    def result(self, given: Sequence[Array], shape: TensorShape) -> Array:
        """(records, groups columns) -> (records, groups)."""
        del shape
        groups = len(self.units)
        chosen = given[0].reshape(len(given[0]), groups, -1)
        return chosen[:, np.arange(groups), list(self.units)]


@dataclass(frozen=True)
class GatherSpec:
    """A public choice: unit j of the result is unit `units[j]` of the source."""

    units: tuple[int, ...] = field(repr=False)
    source: int | None = None
    name: ClassVar[str] = "gather"

    def __post_init__(self) -> None:
        object.__setattr__(self, "units", tuple(self.units))

    def result_shape(self, given: Sequence[TensorShape]) -> TensorShape:
        """Raises ShapeError."""
        _require_choices(self.units, math.prod(given[0]))
        return (len(self.units),)

    def result(self, given: Sequence[Array], shape: TensorShape) -> Array:
        """(records, K) -> (records, J)."""
        del shape
        return given[0][:, list(self.units)]


@dataclass(frozen=True)
class AddSpec:
    """The sum of two tensors of one shape."""

    left: int
    right: int
    name: ClassVar[str] = "add"

    def result_shape(self, given: Sequence[TensorShape]) -> TensorShape:
        """Raises ShapeError."""
        return _same_shape(given)

    def result(self, given: Sequence[Array], shape: TensorShape) -> Array:
        """Unit by unit."""
        del shape
        return given[0] + given[1]


@dataclass(frozen=True)
class MulSpec:
    """The product of two tensors of one shape, unit by unit."""

    left: int
    right: int
    name: ClassVar[str] = "mul"

    def result_shape(self, given: Sequence[TensorShape]) -> TensorShape:
        """Raises ShapeError."""
        return _same_shape(given)

    def result(self, given: Sequence[Array], shape: TensorShape) -> Array:
        """Unit by unit."""
        del shape
        return given[0] * given[1]


WeightsSpec: TypeAlias = DenseSpec | Conv2dSpec
SourcedSpec: TypeAlias = (
    WeightsSpec
    | BatchNormSpec
    | PoolSpec
    | FlattenSpec
    | PolynomialSpec
    | ScaleSpec
    | SelectionSpec
    | GroupedSelectionSpec
    | GatherSpec
)
LayerSpec: TypeAlias = SourcedSpec | AddSpec | MulSpec


@dataclass(frozen=True, eq=False)
class NetworkSpec:
    """Layers over normalised inputs.

    Attributes:
        shape: of the input, (K,) or (C, H, W).
        layers: in order; the last one's tensor is the output.
    """

    shape: TensorShape
    layers: tuple[LayerSpec, ...]

    def __post_init__(self) -> None:
        object.__setattr__(self, "shape", tuple(self.shape))
        object.__setattr__(self, "layers", tuple(self.layers))

    def sources(self, index: int) -> tuple[int, ...]:
        """The tensors that layer `index` reads."""
        layer = self.layers[index]
        if isinstance(layer, AddSpec | MulSpec):
            return layer.left, layer.right
        return (index if layer.source is None else layer.source,)

    @cached_property
    def shapes(self) -> tuple[TensorShape, ...]:
        """The shape of every tensor.

        Raises:
            ShapeError: a layer does not fit its source; the message names the layer.
            NonFiniteError: a weight is NaN or infinite.
            ModelError: a weight is absurdly large.
        """
        if not self.layers:
            raise ShapeError("a network needs at least one layer")
        if len(self.shape) not in {1, 3} or min(self.shape) < 1:
            raise ShapeError(f"input of shape {self.shape}: expected (K,) or (C, H, W)")
        shapes = [self.shape]
        for index, layer in enumerate(self.layers):
            given = self.sources(index)
            where = f"layer {index} ({layer.name})"
            if not all(0 <= tensor <= index for tensor in given):
                raise ShapeError(f"{where} reads tensor {max(given)}, only 0 to {index} exist")
            try:
                shapes.append(layer.result_shape([shapes[tensor] for tensor in given]))
            except BlindproofError as error:
                raise type(error)(f"{where}: {error}") from None
        return tuple(shapes)

    @property
    def inputs(self) -> int:
        """K, the units of the input."""
        return math.prod(self.shape)

    @property
    def outputs(self) -> int:
        """J, the units of the last tensor."""
        return math.prod(self.shapes[-1])

    def forward(self, inputs: Floats) -> Floats:
        """The real model on normalised inputs (records, K) -> (records, J), double precision."""
        tensors: list[Array] = [inputs]
        for index, layer in enumerate(self.layers):
            given = self.sources(index)
            shape = self.shapes[given[0]]
            tensors.append(layer.result([tensors[tensor] for tensor in given], shape))
        return tensors[-1].astype(np.float64)


def image_shape(shape: TensorShape) -> plaintext.Shape:
    """A shape as (C, H, W).  Raises ShapeError."""
    if len(shape) != 3:
        raise ShapeError(f"needs an image (channels, height, width), not a shape {shape}")
    return shape[0], shape[1], shape[2]


def _places(shape: plaintext.Shape, kernel: Pair, stride: Pair, padding: Pair) -> Pair:
    """How often a window fits.  Raises ShapeError."""
    if min(*kernel, *stride) < 1 or min(padding) < 0:
        raise ShapeError("kernel and stride must be positive, padding not negative")
    if any(pad >= extent for pad, extent in zip(padding, kernel, strict=True)):
        raise ShapeError(f"padding {padding} must be smaller than the kernel {kernel}")
    places = plaintext.window_places(shape, kernel, stride, padding)
    if min(places) < 1:
        raise ShapeError(f"a kernel {kernel} does not fit an image {shape[1:]}")
    return places


def _parts(units: int, parts: int) -> int:
    """Units of each of so many equal parts.  Raises ShapeError."""
    if parts < 1 or units % parts:
        raise ShapeError(f"{units} units do not split into {parts} equal parts")
    return units // parts


def _require_choices(choices: tuple[int, ...], count: int) -> None:
    """Raises ShapeError, which shows none of them."""
    if not choices or not all(0 <= choice < count for choice in choices):
        raise ShapeError(f"expected units from 0 to {count - 1}")


def _same_shape(given: Sequence[TensorShape]) -> TensorShape:
    if given[0] != given[1]:
        raise ShapeError(f"its sources have shapes {given[0]} and {given[1]}")
    return given[0]


def _require_bias(weights: Floats, bias: Floats) -> None:
    if bias.shape != weights.shape[:1]:
        raise ShapeError(f"bias of shape {bias.shape} for {len(weights)} rows of weights")
    require_sized(weights)
    require_sized(bias)


def require_sized(numbers: Floats) -> None:
    """Raises NonFiniteError; ModelError: a number above LARGEST_NUMBER in magnitude."""
    if not np.isfinite(numbers).all():
        raise NonFiniteError("NaN or infinity cannot be quantised")
    if (np.abs(numbers) > LARGEST_NUMBER).any():
        raise ModelError(f"a number above {LARGEST_NUMBER:.2g} in magnitude: rescale the model")


def _take_numbers(layer: WeightsSpec | BatchNormSpec, *names: str) -> None:
    """Make these attributes arrays in double precision.  Raises ShapeError."""
    for name in names:
        try:
            numbers = np.asarray(getattr(layer, name), dtype=np.float64)
        except (TypeError, ValueError):  # whose words may show weights
            raise ShapeError(
                f"{name} of a {layer.name} layer: expected numbers in rows of one length"
            ) from None
        object.__setattr__(layer, name, numbers)
