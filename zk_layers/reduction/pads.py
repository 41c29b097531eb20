"""Which pads a private proof commits to: counted before anything is committed."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

import kernels
from zk_layers.reduction.forms import Multiplication

Words = npt.NDArray[np.uint64]


class Pads:
    """Hands out pad indices, each once.

    With `hidden` false every index is None and nothing is committed.
    """

    def __init__(self, *, hidden: bool) -> None:
        self.hidden = hidden
        self.count = 0
        self._products: list[tuple[int, int, int]] = []

    def one(self) -> int | None:
        """A fresh pad."""
        return self._fresh() if self.hidden else None

    def many(self, count: int) -> tuple[int | None, ...]:
        """Fresh pads."""
        return tuple(self.one() for _ in range(count))

    def multiplication(self, x: int | None, y: int | None) -> Multiplication | None:
        """The pads of one product of padded values."""
        if x is None or y is None:
            return None
        spare_x = self._fresh()
        spare_y = spare_x if x == y else self._fresh()
        return Multiplication(
            x, y, self._product(x, y), spare_x, spare_y, self._product(spare_x, spare_y)
        )

    def _fresh(self) -> int:
        self.count += 1
        return self.count - 1

    def _product(self, x: int, y: int) -> int:
        index = self._fresh()
        self._products.append((index, x, y))
        return index

    def fill(self, uniform: Words, extension: kernels.Extension) -> Words:
        """The prover's pads (count, 2): uniform words with every product put in its place."""
        pads = uniform.copy()
        if self._products:
            index, x, y = (np.array(column) for column in zip(*self._products, strict=True))
            products = extension.mul(
                np.ascontiguousarray(pads[x].T), np.ascontiguousarray(pads[y].T)
            )
            pads[index] = products.T
        return pads
