"""The layers a network is described with: public shape, never weights.

Tensor 0 is the input; layer i makes tensor i + 1 from tensors 0 .. i, which it names by index.
A tensor has `units` values per record; images are flattened as c * H * W + y * W + x.

A layer with a matrix has integers of its own: one row per unit (per channel of a convolution),
the bias last. Layers without one are public.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Self, TypeAlias

from protocol.encoding import Value, expect_int, expect_text, expect_tuple
from protocol.errors import EncodingError, ModelError

MAX_LAYERS = 64
MAX_UNITS = 4096
"""Units of one tensor, and so every side of an image and of a kernel."""
MAX_DEGREE = 4
"""Degree of one polynomial activation."""
COEFFICIENT_BITS = 16
"""Coefficients of an activation are below 2^16 in magnitude ..."""
MAX_COEFFICIENT_SHIFT = 64
"""... and stand for themselves times 2^-shift, at most this one."""
SCALE_FACTOR_BITS = 31

_IMAGE = 3
_PLANE = 2


def _require_source(*sources: int) -> None:
    if not all(0 <= source < MAX_LAYERS for source in sources):
        raise ModelError(f"a layer's source is a tensor index from 0 to {MAX_LAYERS - 1}")


def _require_sizes(name: str, sizes: tuple[int, ...], count: int, least: int = 1) -> None:
    if len(sizes) != count or not all(least <= size <= MAX_UNITS for size in sizes):
        raise ModelError(f"{name}: expected {count} integers from {least} to {MAX_UNITS}")


def _window_counts(
    shape: tuple[int, ...],
    kernel: tuple[int, ...],
    stride: tuple[int, ...],
    padding: tuple[int, ...],
) -> tuple[int, int]:
    """(H', W'), the places a window takes on an image (C, H, W)."""
    sides = []
    for axis in range(_PLANE):
        free = shape[1 + axis] + 2 * padding[axis] - kernel[axis]
        if free < 0:
            raise ModelError(f"a kernel of {kernel} does not fit an image of {shape}")
        sides.append(free // stride[axis] + 1)
    return sides[0], sides[1]


class _FromOne:
    """A layer that reads one tensor."""

    source: int

    @property
    def sources(self) -> tuple[int, ...]:
        """The tensors it reads."""
        return (self.source,)


@dataclass(frozen=True)
class Dense(_FromOne):
    """Every unit a weighted sum of all units of the source, plus a bias."""

    source: int
    units: int
    TAG: ClassVar[str] = "dense"

    def __post_init__(self) -> None:
        _require_source(self.source)
        _require_sizes("dense units", (self.units,), 1)

    def value(self) -> Value:
        """The canonical value."""
        return (self.TAG, self.source, self.units)

    @classmethod
    def from_value(cls, value: Value) -> Dense:
        """Rebuild and validate from a decoded value."""
        _, source, units = expect_tuple(value, "dense layer", 3)
        return cls(expect_int(source, "source"), expect_int(units, "units"))


@dataclass(frozen=True)
class Selection(_FromOne):
    """A private choice: every row takes one channel of the source, at all of its positions.

    The source is channels x positions, unit c * positions + p; the result is units x positions,

        out[n, p] = x[choice of n, p]

    by a private matrix (units, channels) whose rows are unit vectors. At one position a channel is
    a unit.

    Attributes:
        source: the tensor.
        units: choices, one matrix row each.
        positions: values of a channel, which are taken together.
    """

    source: int
    units: int
    positions: int = 1
    TAG: ClassVar[str] = "selection"

    def __post_init__(self) -> None:
        _require_source(self.source)
        _require_sizes("selection units and positions", (self.units, self.positions), 2)

    def value(self) -> Value:
        """The canonical value."""
        return (self.TAG, self.source, self.units, self.positions)

    @classmethod
    def from_value(cls, value: Value) -> Selection:
        """Rebuild and validate from a decoded value."""
        _, source, units, positions = expect_tuple(value, "selection layer", 4)
        return cls(
            expect_int(source, "source"),
            expect_int(units, "units"),
            expect_int(positions, "positions"),
        )


@dataclass(frozen=True)
class GroupedSelection(_FromOne):
    """A private choice within every group of the source.

    The source is groups x columns, unit g * columns + c; the result has a unit a group,

        out[g] = x[g, choice of g]

    by a private matrix (groups, columns) whose rows are unit vectors.
    """

    source: int
    groups: int
    TAG: ClassVar[str] = "grouped_selection"

    def __post_init__(self) -> None:
        _require_source(self.source)
        _require_sizes("groups of a selection", (self.groups,), 1)

    def value(self) -> Value:
        """The canonical value."""
        return (self.TAG, self.source, self.groups)

    @classmethod
    def from_value(cls, value: Value) -> GroupedSelection:
        """Rebuild and validate from a decoded value."""
        _, source, groups = expect_tuple(value, "grouped selection layer", 3)
        return cls(expect_int(source, "source"), expect_int(groups, "groups"))


@dataclass(frozen=True)
class Gather(_FromOne):
    """A public choice: unit j of the result is unit `units[j]` of the source."""

    source: int
    units: tuple[int, ...]
    TAG: ClassVar[str] = "gather"

    def __post_init__(self) -> None:
        _require_source(self.source)
        if not 1 <= len(self.units) <= MAX_UNITS:
            raise ModelError(f"a gather takes 1 to {MAX_UNITS} units, found {len(self.units)}")
        if not all(0 <= unit < MAX_UNITS for unit in self.units):
            raise ModelError(f"a gather names units from 0 to {MAX_UNITS - 1}")

    def value(self) -> Value:
        """The canonical value."""
        return (self.TAG, self.source, self.units)

    @classmethod
    def from_value(cls, value: Value) -> Gather:
        """Rebuild and validate from a decoded value."""
        _, source, units = expect_tuple(value, "gather layer", 3)
        named = expect_tuple(units, "gathered units")
        return cls(
            expect_int(source, "source"), tuple(expect_int(unit, "gathered unit") for unit in named)
        )


@dataclass(frozen=True)
class Conv2d(_FromOne):
    """A two-dimensional cross-correlation, zero padded, one bias per channel.

    Attributes:
        source: an image.
        shape: (C, H, W) of the source.
        channels: of the result.
        kernel, stride, padding: (vertical, horizontal); padding below the kernel's size.
    """

    source: int
    shape: tuple[int, int, int]
    channels: int
    kernel: tuple[int, int]
    stride: tuple[int, int] = (1, 1)
    padding: tuple[int, int] = (0, 0)
    TAG: ClassVar[str] = "conv2d"

    def __post_init__(self) -> None:
        _require_source(self.source)
        _require_sizes("image shape", self.shape, _IMAGE)
        _require_sizes("channels", (self.channels,), 1)
        _require_sizes("kernel", self.kernel, _PLANE)
        _require_sizes("stride", self.stride, _PLANE)
        _require_sizes("padding", self.padding, _PLANE, least=0)
        if any(pad >= size for pad, size in zip(self.padding, self.kernel, strict=True)):
            raise ModelError("a convolution's padding must be smaller than its kernel")
        _window_counts(self.shape, self.kernel, self.stride, self.padding)

    @property
    def places(self) -> tuple[int, int]:
        """(H', W') of the result."""
        return _window_counts(self.shape, self.kernel, self.stride, self.padding)

    @property
    def taps(self) -> int:
        """Weights of one channel, the bias not counted: C * kh * kw."""
        return self.shape[0] * self.kernel[0] * self.kernel[1]

    @property
    def units(self) -> int:
        """Units of the result."""
        return self.channels * self.places[0] * self.places[1]

    def value(self) -> Value:
        """The canonical value."""
        window = (self.kernel, self.stride, self.padding)
        return (self.TAG, self.source, self.shape, self.channels, *window)

    @classmethod
    def from_value(cls, value: Value) -> Conv2d:
        """Rebuild and validate from a decoded value."""
        _, source, shape, channels, *window = expect_tuple(value, "convolution layer", 7)
        kernel, stride, padding = (_pair(item, "window") for item in window)
        return cls(
            expect_int(source, "source"),
            _image(shape),
            expect_int(channels, "channels"),
            kernel,
            stride,
            padding,
        )


@dataclass(frozen=True)
class SumPool(_FromOne):
    """Sums over windows, channel by channel: an average pool without its division.

    Attributes:
        source: an image.
        shape: (C, H, W) of the source.
        kernel, stride: (vertical, horizontal).
    """

    source: int
    shape: tuple[int, int, int]
    kernel: tuple[int, int]
    stride: tuple[int, int]
    TAG: ClassVar[str] = "sum_pool"

    def __post_init__(self) -> None:
        _require_source(self.source)
        _require_sizes("image shape", self.shape, _IMAGE)
        _require_sizes("kernel", self.kernel, _PLANE)
        _require_sizes("stride", self.stride, _PLANE)
        _window_counts(self.shape, self.kernel, self.stride, (0, 0))

    @property
    def places(self) -> tuple[int, int]:
        """(H', W') of the result."""
        return _window_counts(self.shape, self.kernel, self.stride, (0, 0))

    @property
    def area(self) -> int:
        """Units a sum has."""
        return self.kernel[0] * self.kernel[1]

    @property
    def units(self) -> int:
        """Units of the result."""
        return self.shape[0] * self.places[0] * self.places[1]

    def value(self) -> Value:
        """The canonical value."""
        return (self.TAG, self.source, self.shape, self.kernel, self.stride)

    @classmethod
    def from_value(cls, value: Value) -> SumPool:
        """Rebuild and validate from a decoded value."""
        _, source, shape, kernel, stride = expect_tuple(value, "pooling layer", 5)
        return cls(
            expect_int(source, "source"),
            _image(shape),
            _pair(kernel, "kernel"),
            _pair(stride, "stride"),
        )


@dataclass(frozen=True)
class _Pairwise:
    """Two tensors joined unit by unit."""

    left: int
    right: int
    TAG: ClassVar[str]
    KIND: ClassVar[str]

    def __post_init__(self) -> None:
        _require_source(self.left, self.right)

    @property
    def sources(self) -> tuple[int, ...]:
        """The tensors it reads."""
        return (self.left, self.right)

    def value(self) -> Value:
        """The canonical value."""
        return (self.TAG, self.left, self.right)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Rebuild and validate from a decoded value."""
        _, left, right = expect_tuple(value, cls.KIND, 3)
        return cls(expect_int(left, "left"), expect_int(right, "right"))


@dataclass(frozen=True)
class Add(_Pairwise):
    """The sum of two tensors, unit by unit, as in a residual connection."""

    TAG: ClassVar[str] = "add"
    KIND: ClassVar[str] = "addition layer"


@dataclass(frozen=True)
class Mul(_Pairwise):
    """The product of two tensors, unit by unit."""

    TAG: ClassVar[str] = "mul"
    KIND: ClassVar[str] = "product layer"


@dataclass(frozen=True)
class Scale(_FromOne):
    """A tensor times a public integer."""

    source: int
    factor: int
    TAG: ClassVar[str] = "scale"

    def __post_init__(self) -> None:
        _require_source(self.source)
        if not 0 < abs(self.factor) < 1 << SCALE_FACTOR_BITS:
            raise ModelError(f"a public factor is nonzero and below 2^{SCALE_FACTOR_BITS}")

    def value(self) -> Value:
        """The canonical value."""
        return (self.TAG, self.source, self.factor)

    @classmethod
    def from_value(cls, value: Value) -> Scale:
        """Rebuild and validate from a decoded value."""
        _, source, factor = expect_tuple(value, "scaling layer", 3)
        return cls(expect_int(source, "source"), expect_int(factor, "factor"))


@dataclass(frozen=True)
class Polynomial(_FromOne):
    """A polynomial of every unit: sum_i c_i 2^-coefficient_bits x^i.

    Attributes:
        source: the tensor.
        coefficients: public integers c_0 .. c_d, 1 <= d <= 4, |c_i| < 2^16, c_d nonzero.
        coefficient_bits: their common binary point.
    """

    source: int
    coefficients: tuple[int, ...]
    coefficient_bits: int
    TAG: ClassVar[str] = "polynomial"

    def __post_init__(self) -> None:
        _require_source(self.source)
        if not 1 <= self.degree <= MAX_DEGREE:
            raise ModelError(f"an activation has degree 1 to {MAX_DEGREE}, found {self.degree}")
        if any(abs(c) >= 1 << COEFFICIENT_BITS for c in self.coefficients):
            raise ModelError(f"an activation's coefficients are below 2^{COEFFICIENT_BITS}")
        if self.coefficients[-1] == 0:
            raise ModelError("an activation's leading coefficient must not be zero")
        if not 0 <= self.coefficient_bits <= MAX_COEFFICIENT_SHIFT:
            raise ModelError(f"coefficient bits are 0 to {MAX_COEFFICIENT_SHIFT}")

    @property
    def degree(self) -> int:
        """d."""
        return len(self.coefficients) - 1

    def aligned(self, scale_log2: int) -> tuple[int, ...]:
        """Coefficients that act on integers of this scale: c_i 2^((d - i) scale)."""
        return tuple(c << ((self.degree - i) * scale_log2) for i, c in enumerate(self.coefficients))

    def value(self) -> Value:
        """The canonical value."""
        return (self.TAG, self.source, self.coefficients, self.coefficient_bits)

    @classmethod
    def from_value(cls, value: Value) -> Polynomial:
        """Rebuild and validate from a decoded value."""
        _, source, coefficients, bits = expect_tuple(value, "activation layer", 4)
        return cls(
            expect_int(source, "source"),
            tuple(expect_int(c, "coefficient") for c in expect_tuple(coefficients, "polynomial")),
            expect_int(bits, "coefficient bits"),
        )


def square(source: int) -> Polynomial:
    """The square of every unit."""
    return Polynomial(source, (0, 0, 1), 0)


PrivateSelection: TypeAlias = Selection | GroupedSelection
"""Layers whose matrices have unit vectors for rows: what is private is the choice."""
Layer: TypeAlias = (
    Dense | PrivateSelection | Gather | Conv2d | SumPool | Add | Mul | Scale | Polynomial
)

_KINDS: dict[str, type[Layer]] = {
    kind.TAG: kind
    for kind in (
        Dense,
        Selection,
        GroupedSelection,
        Gather,
        Conv2d,
        SumPool,
        Add,
        Mul,
        Scale,
        Polynomial,
    )
}


def layer_from_value(value: Value) -> Layer:
    """Rebuild and validate any layer from a decoded value.

    Raises:
        EncodingError: the value is not one of a layer.
        ModelError: the layer is outside what is supported.
    """
    fields = expect_tuple(value, "layer")
    tag = expect_text(fields[0], "layer kind") if fields else ""
    if tag not in _KINDS:
        raise EncodingError(f"unknown layer kind {tag[:40]!r}")
    return _KINDS[tag].from_value(value)


def _image(value: Value) -> tuple[int, int, int]:
    channels, height, width = expect_tuple(value, "image shape", _IMAGE)
    return (
        expect_int(channels, "image channels"),
        expect_int(height, "image height"),
        expect_int(width, "image width"),
    )


def _pair(value: Value, name: str) -> tuple[int, int]:
    vertical, horizontal = expect_tuple(value, name, _PLANE)
    return expect_int(vertical, name), expect_int(horizontal, name)
