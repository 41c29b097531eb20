"""Train small networks with square activations, in numpy.

Dense layers, and one convolution at the front if wanted, with a square between any two. Rows of
weights and bias are kept within an l1 norm after every step: that norm is what the error bound of
an encrypted answer grows with, so it is a constraint of training and not an afterthought.

Adam: Kingma and Ba 2015.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
from threadpoolctl import threadpool_limits

from fhe_layers import plaintext
from fhe_layers.spec import SQUARE, Conv2dSpec, DenseSpec, LayerSpec, NetworkSpec, PolynomialSpec

Floats = npt.NDArray[np.float64]
Classes = npt.NDArray[np.int64]

WEIGHT_DECAY = 1e-4
FIRST_MOMENT, SECOND_MOMENT = 0.9, 0.99


@dataclass(frozen=True)
class Schedule:
    """How long, in what steps, and how steep.

    Attributes:
        epochs: passes over the records.
        batch: records per step.
        rate: first step size; it falls to zero along a cosine.
        temperature: outputs of bounded weights are small: the loss sees them times this.
        l1_bound: largest l1 norm of a row, bias included; a little below what the rounded weights
            should keep to.
        seed: of the order of records.
    """

    epochs: int
    batch: int
    rate: float
    temperature: float
    l1_bound: float
    seed: int = 0


@dataclass(frozen=True)
class Convolution:
    """The first layer of an image network: square kernels, stride 1."""

    shape: plaintext.Shape
    channels: int
    size: int
    padding: int

    @property
    def units(self) -> int:
        """Units of its result."""
        pair = (self.size, self.size)
        height, width = plaintext.window_places(
            self.shape, pair, (1, 1), (self.padding, self.padding)
        )
        return self.channels * height * width

    def windows(self, inputs: Floats) -> Floats:
        """(records, C H W) -> (records, H' W', C size size)."""
        seen = plaintext.windows(
            inputs,
            self.shape,
            kernel=(self.size, self.size),
            stride=(1, 1),
            padding=(self.padding, self.padding),
        )
        return seen.astype(np.float64)


@dataclass(eq=False)
class _Weights:
    """One layer's rows, bias last, with Adam's moments."""

    rows: Floats
    first: Floats = field(init=False)
    second: Floats = field(init=False)

    def __post_init__(self) -> None:
        self.first, self.second = np.zeros_like(self.rows), np.zeros_like(self.rows)

    def step(self, gradient: Floats, rate: float, count: int, l1_bound: float) -> None:
        """One step of Adam, then every row back within its norm."""
        gradient = gradient + WEIGHT_DECAY * self.rows
        self.first += (1 - FIRST_MOMENT) * (gradient - self.first)
        self.second += (1 - SECOND_MOMENT) * (gradient**2 - self.second)
        moved = self.first / (1 - FIRST_MOMENT**count)
        self.rows -= rate * moved / (np.sqrt(self.second / (1 - SECOND_MOMENT**count)) + 1e-8)
        norms = np.abs(self.rows).sum(axis=1, keepdims=True)
        self.rows *= np.minimum(1.0, l1_bound / norms)


class SquareNetwork:
    """A network in training."""

    def __init__(self, sizes: Sequence[int], front: Convolution | None, seed: int) -> None:
        """Draw weights.

        Args:
            sizes: units of the dense layers' inputs and of the output.
            front: a convolution before the first dense layer.
            seed: of numpy's generator.
        """
        generator = np.random.default_rng(seed)
        shapes = [(out, into) for into, out in itertools.pairwise(sizes)]
        if front is not None:
            shapes.insert(0, (front.channels, front.shape[0] * front.size**2))
        self.front = front
        self._layers = [
            _Weights(
                np.column_stack(
                    [generator.normal(scale=0.5 / np.sqrt(into), size=(out, into)), np.zeros(out)]
                )
            )
            for out, into in shapes
        ]

    def train(self, inputs: Floats, targets: Floats, schedule: Schedule) -> None:
        """Minimise cross-entropy.

        Args:
            inputs: (records, K).
            targets: (records, J): one column of 0 and 1, or one-hot classes.
            schedule: of the steps.
        """
        # Matrices this small are slower on several threads than on one.
        with threadpool_limits(limits=1, user_api="blas"):
            self._train(inputs, targets, schedule)

    def _train(self, inputs: Floats, targets: Floats, schedule: Schedule) -> None:
        generator = np.random.default_rng(schedule.seed)
        prepared = inputs if self.front is None else self.front.windows(inputs)
        steps, total = 0, schedule.epochs * -(-len(inputs) // schedule.batch)
        for _ in range(schedule.epochs):
            order = generator.permutation(len(inputs))
            for start in range(0, len(order), schedule.batch):
                chosen, steps = order[start : start + schedule.batch], steps + 1
                gradients = self._gradients(prepared[chosen], targets[chosen], schedule.temperature)
                rate = schedule.rate * (1 + np.cos(np.pi * steps / total)) / 2
                for layer, gradient in zip(self._layers, gradients, strict=True):
                    layer.step(gradient, rate, steps, schedule.l1_bound)

    def spec(self) -> NetworkSpec:
        """The network as it is published."""
        layers: list[LayerSpec] = []
        front = self.front
        for index, layer in enumerate(self._layers):
            weights, bias = layer.rows[:, :-1].copy(), layer.rows[:, -1].copy()
            if index:
                layers.append(PolynomialSpec(SQUARE))
            if index == 0 and front is not None:
                shaped = weights.reshape(front.channels, front.shape[0], front.size, front.size)
                pad = (front.padding, front.padding)
                layers.append(Conv2dSpec(shaped, bias, padding=pad))
            else:
                layers.append(DenseSpec(weights, bias))
        shape = (self._layers[0].rows.shape[1] - 1,) if front is None else front.shape
        return NetworkSpec(shape, tuple(layers))

    def _gradients(self, prepared: Floats, targets: Floats, temperature: float) -> list[Floats]:
        """Of the mean loss, one array of rows per layer."""
        entered: list[Floats] = []
        sums: list[Floats] = []
        current = prepared
        for index, layer in enumerate(self._layers):
            if index:
                current = current**2
            entered.append(current)
            current = current @ layer.rows[:, :-1].T + layer.rows[:, -1]
            if index == 0 and self.front is not None:  # channels before positions
                current = current.transpose(0, 2, 1).reshape(len(current), -1)
            sums.append(current)
        flow = temperature * (_probabilities(temperature * current) - targets) / len(targets)
        gradients: list[Floats] = []
        for index in range(len(self._layers) - 1, -1, -1):
            rows = self._layers[index].rows
            if index == 0 and self.front is not None:
                flow = flow.reshape(len(flow), len(rows), -1).transpose(0, 2, 1)
            columns = entered[index].reshape(-1, rows.shape[1] - 1)
            flat = flow.reshape(-1, len(rows))
            gradients.append(np.column_stack([flat.T @ columns, flat.sum(axis=0)]))
            if index:
                flow = (flow @ rows[:, :-1]) * 2 * sums[index - 1]
        return gradients[::-1]


def _probabilities(outputs: Floats) -> Floats:
    """Logistic for one output, softmax for several."""
    if outputs.shape[1] == 1:
        single: Floats = (1 + np.tanh(outputs / 2)) / 2
        return single
    raised = np.exp(outputs - outputs.max(axis=1, keepdims=True))
    several: Floats = raised / raised.sum(axis=1, keepdims=True)
    return several


def one_hot(classes: Classes, count: int) -> Floats:
    """(records,) -> (records, count)."""
    return np.eye(count)[classes]
