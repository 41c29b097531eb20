"""Lowered layers: the three kinds of step that evaluation and proof both walk.

A step makes one tensor from earlier ones, coordinate by coordinate in every limb and NTT position.
All factors are exact integers of any size, powers of two that align scales included; whoever
computes reduces them modulo each limb.

Constants are polynomials of degree 0: in the NTT domain the same word at every n, of polynomial 0.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Int32s = npt.NDArray[np.int32]
Int64s = npt.NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class AffineTerm:
    """A sparse matrix times one tensor, times a public factor.

    Attributes:
        source: tensor index.
        outputs: (nnz,), rows of the matrix, ascending.
        inputs: (nnz,), columns, ascending within a row and distinct.
        weights: (nnz,), where the entries stand among the model's flat integers; None: all ones.
        factor: exact integer.
        units: rows of the matrix.
        selects: whether its rows are unit vectors, by what is registered.
    """

    source: int
    outputs: Int64s
    inputs: Int64s
    weights: Int64s | None
    factor: int
    units: int
    selects: bool = False

    def entries(self, integers: Int64s) -> Int64s:
        """The matrix entries (nnz,), the factor not included."""
        if self.weights is None:
            return np.ones(len(self.outputs), dtype=np.int64)
        return integers[self.weights]

    def matrix_csr(self, integers: Int64s) -> tuple[Int64s, Int32s, Int32s]:
        """The matrix by rows: row pointers (units + 1,), columns (nnz,), values (nnz,).

        Args:
            integers: the model's flat integers, below 2^31 in magnitude.
        """
        counts = np.bincount(self.outputs, minlength=self.units)
        pointers = np.zeros(self.units + 1, dtype=np.int64)
        np.cumsum(counts, out=pointers[1:])
        return pointers, self.inputs.astype(np.int32), self.entries(integers).astype(np.int32)


@dataclass(frozen=True, eq=False)
class Affine:
    """A sum of sparse matrix products and a bias.

    out_j = sum over terms of factor * sum over entries e of row j of w_e * in[column of e]
            + bias_factor * w[bias_j], added to polynomial 0 at every n.

    Attributes:
        units: of the result.
        terms: one or more.
        bias: (units,), where the biases stand among the model's flat integers, or None.
        bias_factor: exact integer, 0 without a bias.
    """

    units: int
    terms: tuple[AffineTerm, ...]
    bias: Int64s | None
    bias_factor: int

    @property
    def sources(self) -> tuple[int, ...]:
        """The tensors it reads, once per term."""
        return tuple(term.source for term in self.terms)


@dataclass(frozen=True, eq=False)
class Power:
    """A polynomial of every unit: out = sum_i coefficients[i] * in^i, the constant exact too.

    Attributes:
        source: tensor index.
        coefficients: exact integers, lowest first, the last nonzero.
    """

    source: int
    coefficients: tuple[int, ...]

    @property
    def sources(self) -> tuple[int, ...]:
        """The tensor it reads."""
        return (self.source,)

    @property
    def degree(self) -> int:
        """Degree of the polynomial."""
        return len(self.coefficients) - 1


@dataclass(frozen=True, eq=False)
class Product:
    """The product of two tensors, unit by unit."""

    left: int
    right: int

    @property
    def sources(self) -> tuple[int, ...]:
        """The tensors it reads."""
        return (self.left, self.right)


Node: TypeAlias = Affine | Power | Product
