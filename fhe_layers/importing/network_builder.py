"""A network, layer by layer, of affine values: what has been noted becomes weights when it must."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from fhe_layers import plaintext
from fhe_layers.importing.affine_values import (
    CannotServeError,
    Combined,
    Convolved,
    Floats,
    Picked,
    Value,
    added,
    channelwise,
    combined,
    scaled,
    transformed,
    whole,
)
from fhe_layers.plaintext import Pair
from fhe_layers.spec import (
    SQUARE,
    AddSpec,
    Conv2dSpec,
    DenseSpec,
    FlattenSpec,
    LayerSpec,
    MulSpec,
    NetworkSpec,
    PolynomialSpec,
    PoolSpec,
    ScaleSpec,
    TensorShape,
    image_shape,
)
from protocol.errors import BlindproofError

MAX_WEIGHTS = 16_384
"""What a model can commit to; a single layer that has more is refused where its node is known."""

SAME_ZERO = 1e-9
"""An offset below this share of the factor is the rounding of a centre, not a shift."""


class NetworkBuilder:
    """Layers so far. Tensor 0 is the network's input; `shapes` are those of all tensors."""

    def __init__(self, shape: TensorShape, layers: Sequence[LayerSpec] = ()) -> None:
        self.layers: list[LayerSpec] = list(layers)
        self.shapes: list[TensorShape] = [shape]
        if layers:
            self.shapes = list(NetworkSpec(shape, tuple(layers)).shapes)
        self._made: list[tuple[Value, int]] = []

    def units(self, value: Value) -> int:
        """Units of the tensor that a value is a function of."""
        return math.prod(self.shapes[value.base])

    def finished(self, value: Value) -> NetworkSpec:
        """The network that ends with a value, without layers that it does not need."""
        output = self.tensor(value)
        if not output:
            units = math.prod(self.shapes[0])
            output = self._emit(DenseSpec(np.eye(units), np.zeros(units), 0))
        wanted = {output}
        for index in range(output - 1, -1, -1):
            if index + 1 in wanted:
                wanted.update(_sources(self.layers[index], index))
        place = {0: 0} | {
            tensor: position + 1 for position, tensor in enumerate(sorted(wanted - {0}))
        }
        kept = [
            _moved(self.layers[tensor - 1], tensor - 1, place) for tensor in sorted(wanted - {0})
        ]
        return NetworkSpec(self.shapes[0], tuple(kept))

    def tensor(self, value: Value) -> int:
        """The tensor that holds a value.  Raises CannotServeError."""
        for known, tensor in self._made:
            if known is value:
                return tensor
        tensor = self._written(value)
        self._made.append((value, tensor))
        return tensor

    def polynomial(self, value: Value, coefficients: Sequence[float]) -> Value:
        """sum_i c_i x^i entry by entry, of degree at most 4.  Raises CannotServeError."""
        degree = len(coefficients) - 1
        if not 1 <= degree <= 4:
            raise CannotServeError(f"polynomials of degree {degree}", "degree 2, 3 or 4")
        if degree == 1:
            first, second = np.array(coefficients[1]), np.array(coefficients[0])
            return scaled(value, first, second, self.units(value))
        if isinstance(value, Picked) and self._in_place(value):
            if value.unshifted and not any(coefficients[:-1]):
                tensor = self._emit(PolynomialSpec(_unit_power(degree), value.base))
                factor = coefficients[-1] * value.factor**degree
                return replace(whole(tensor, value.shape), factor=factor)
            if _uniform(value.factor) and _uniform(value.offset):
                inner = np.polynomial.Polynomial([value.offset.flat[0], value.factor.flat[0]])
                outer = np.polynomial.Polynomial(np.array(coefficients))(inner)
                composed = tuple(float(c) for c in outer.coef)
                return whole(self._emit(PolynomialSpec(composed, value.base)), value.shape)
        source = self.tensor(value)
        if not any(coefficients[:-1]):
            tensor = self._emit(PolynomialSpec(_unit_power(degree), source))
            return scaled(
                whole(tensor, value.shape),
                np.array(coefficients[-1]),
                np.array(0.0),
                self.units(value),
            )
        return whole(self._emit(PolynomialSpec(tuple(coefficients), source)), value.shape)

    def product(self, left: Value, right: Value) -> Value:
        """left * right, entry by entry.  Raises CannotServeError."""
        _require_one_shape(left, right)
        if left is right:
            return self.polynomial(left, SQUARE)
        tensors, factor = [], np.ones(left.shape)
        for value in (left, right):
            if isinstance(value, Picked) and self._in_place(value) and value.unshifted:
                tensors.append(value.base)
                factor = factor * value.factor
            else:
                tensors.append(self.tensor(value))
        first, second = self._of_one_shape(tensors)
        if first == second:
            tensor = self._emit(PolynomialSpec(SQUARE, first))
        else:
            tensor = self._emit(MulSpec(first, second))
        return replace(whole(tensor, left.shape), factor=factor)

    def sum(self, left: Value, right: Value) -> Value:
        """left + right, entry by entry.  Raises CannotServeError."""
        _require_one_shape(left, right)
        joined = added(left, right, self.units(left))
        if joined is not None:
            return joined
        first, second = self._of_one_shape([self.tensor(left), self.tensor(right)])
        return whole(self._emit(AddSpec(first, second)), left.shape)

    def pooled(self, value: Value, kernel: Pair, stride: Pair) -> Value:
        """The average of each window of (1, C, H, W).  Raises CannotServeError."""
        image = image_shape(value.shape[1:])
        places = plaintext.window_places(image, kernel, stride)
        if min(places) < 1 or min(*kernel, *stride) < 1:
            raise CannotServeError(f"a window {kernel} does not fit {image[1:]}", "a smaller one")
        shape = (1, image[0], *places)
        if isinstance(value, Convolved) and value.result == image:
            return replace(value, pools=(*value.pools, (kernel, stride)), shape=shape)
        if isinstance(value, Picked) and self._in_place(value):
            factor, offset = channelwise(image, value.factor), channelwise(image, value.offset)
            if self.shapes[value.base] == image and factor is not None and offset is not None:
                tensor = self._emit(PoolSpec(kernel, stride, source=value.base))
                spread = (factor.reshape(1, -1, 1, 1), offset.reshape(1, -1, 1, 1))
                pooled = whole(tensor, shape)
                return scaled(pooled, *spread, self.units(pooled))
        area = math.prod(kernel)

        def average(images: Floats) -> Floats:
            summed = plaintext.sum_pool(
                images.reshape(len(images), -1), image, kernel=kernel, stride=stride
            )
            return np.asarray(summed / area, dtype=np.float64).reshape(len(images), *shape[1:])

        return transformed(value, average, self.units(value))  # type: ignore[arg-type]

    def convolved(
        self, value: Value, weights: Floats, bias: Floats, stride: Pair, padding: Pair
    ) -> Value:
        """A convolution of (1, C, H, W), zero padded.  Raises CannotServeError."""
        image = image_shape(value.shape[1:])
        kernel = weights.shape[2], weights.shape[3]
        places = plaintext.window_places(image, kernel, stride, padding)
        shape = (1, len(weights), *places)
        if isinstance(value, Picked) and self.shapes[value.base] == image and value.in_place:
            factor, offset = channelwise(image, value.factor), channelwise(image, value.offset)
            if factor is not None and offset is not None:
                if any(padding) and _shifted(factor, offset):
                    raise CannotServeError(
                        "zero padding around values that a normalisation has shifted",
                        "a convolution without padding, or the normalisation right after it",
                    )
                shifted = bias + (weights * offset.reshape(1, -1, 1, 1)).sum(axis=(1, 2, 3))
                own = weights * factor.reshape(1, -1, 1, 1)
                return Convolved(value.base, image, own, shifted, stride, padding, shape=shape)
        matrix = weights.reshape(len(weights), -1)

        def convolve(images: Floats) -> Floats:
            flat = images.reshape(len(images), -1)
            window = {"kernel": kernel, "stride": stride, "padding": padding}
            result = plaintext.conv2d(flat, image, matrix, np.zeros(len(weights)), **window)
            return np.asarray(result, dtype=np.float64).reshape(len(images), *shape[1:])

        moved = transformed(value, convolve, self.units(value))  # type: ignore[arg-type]
        return replace(moved, offset=moved.offset + bias.reshape(1, -1, 1, 1))

    def border(self, value: Value, padding: Pair) -> Floats | None:
        """(C,): what a channel's units must be where padding makes a value zero, if not zero."""
        if not isinstance(value, Picked) or not value.in_place or not any(padding):
            return None
        image = image_shape(value.shape[1:])
        factor, offset = channelwise(image, value.factor), channelwise(image, value.offset)
        if factor is None or offset is None or not factor.all() or not _shifted(factor, offset):
            return None
        return np.asarray(-offset / factor, dtype=np.float64)

    def _in_place(self, value: Picked) -> bool:
        return value.in_place and value.index.size == math.prod(self.shapes[value.base])

    def _written(self, value: Value) -> int:
        """Emit what it takes to have a value in a tensor."""
        if isinstance(value, Convolved):
            tensor = self._emit(
                Conv2dSpec(value.weights, value.bias, value.stride, value.padding, value.base)
            )
            for kernel, stride in value.pools:
                tensor = self._emit(PoolSpec(kernel, stride, source=tensor))
            return tensor
        if isinstance(value, Picked) and self._in_place(value):
            if value.unshifted and _uniform(value.factor) and value.factor.flat[0]:
                factor = float(value.factor.flat[0])
                return value.base if factor == 1 else self._emit(ScaleSpec(factor, value.base))
            shape = self.shapes[value.base]
            if len(shape) == 3:
                image = image_shape(shape)
                factors, offsets = (
                    channelwise(image, value.factor),
                    channelwise(image, value.offset),
                )
                if factors is not None and offsets is not None:
                    diagonal = np.diag(factors)[:, :, None, None]
                    return self._emit(Conv2dSpec(diagonal, offsets, source=value.base))
        units = self.units(value)
        if math.prod(value.shape) * (units + 1) > MAX_WEIGHTS:
            raise CannotServeError(
                f"it takes {math.prod(value.shape)} x {units} private weights, a model has at most "
                f"{MAX_WEIGHTS}",
                "a narrower layer, or pooling before it",
            )
        dense = combined_dense(value, units)
        if np.isnan(dense.weights).any():  # what stands for a number that there is not
            raise CannotServeError(
                "a column of whole numbers is used as a number and as a category, or a weight is "
                "NaN",
                "a copy of the column for each use",
            )
        return self._emit(dense)

    def _of_one_shape(self, tensors: Sequence[int]) -> list[int]:
        """The same tensors, flattened if one is an image and another is not."""
        if len({self.shapes[tensor] for tensor in tensors}) == 1:
            return list(tensors)
        return [
            self._emit(FlattenSpec(tensor)) if len(self.shapes[tensor]) > 1 else tensor
            for tensor in tensors
        ]

    def _emit(self, layer: LayerSpec) -> int:
        """Append a layer; returns its tensor.  Raises CannotServeError."""
        given = [self.shapes[tensor] for tensor in _sources(layer, len(self.layers))]
        try:
            self.shapes.append(layer.result_shape(given))
        except BlindproofError as error:
            raise CannotServeError(str(error), "numbers and shapes that fit") from None
        self.layers.append(layer)
        return len(self.layers)


def combined_dense(value: Picked | Combined, units: int) -> DenseSpec:
    """The dense layer that computes a value from the units of its base."""
    given = combined(value, units)
    return DenseSpec(given.matrix.reshape(units, -1).T, given.offset.ravel(), value.base)


def _shifted(factor: Floats, offset: Floats) -> bool:
    """Whether zero does not stay zero, but for the rounding of a centre."""
    return bool((np.abs(offset) > SAME_ZERO * np.abs(factor)).any())


def _unit_power(degree: int) -> tuple[float, ...]:
    return (*(0.0,) * degree, 1.0)


def _uniform(numbers: Floats) -> bool:
    return bool((numbers == numbers.flat[0]).all())


def _require_one_shape(left: Value, right: Value) -> None:
    if left.shape != right.shape:
        raise CannotServeError(
            f"its sides have shapes {left.shape[1:]} and {right.shape[1:]}",
            "sides of the same shape",
        )


def _sources(layer: LayerSpec, index: int) -> tuple[int, ...]:
    if isinstance(layer, AddSpec | MulSpec):
        return layer.left, layer.right
    return (index if layer.source is None else layer.source,)


def _moved(layer: LayerSpec, index: int, place: dict[int, int]) -> LayerSpec:
    given = [place[tensor] for tensor in _sources(layer, index)]
    if isinstance(layer, AddSpec | MulSpec):
        return replace(layer, left=given[0], right=given[1])
    return replace(layer, source=given[0])
