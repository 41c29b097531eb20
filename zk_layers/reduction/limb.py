"""Arithmetic of one limb, gathered: arrays mod q, arrays over E, single elements, forms."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt

import kernels
from protocol.nodes import AffineTerm
from zk_layers.extension import Scalars, extension, scalars
from zk_layers.fields import field
from zk_layers.reduction.forms import Algebra, WeightForm

Words = npt.NDArray[np.uint64]
Int64s = npt.NDArray[np.int64]

_HALF_BITS = np.uint64(32)
_HALF_MASK = np.uint64((1 << 32) - 1)


@dataclass(frozen=True)
class Limb:
    """One limb's prime and everything that computes with it."""

    modulus: int
    field: kernels.Modulus
    extension: kernels.Extension
    scalars: Scalars
    algebra: Algebra

    def gather_add(self, values: Words, index: Int64s, size: int) -> Words:
        """out[c, i] = sum of values[c, e] over the e with index[e] = i: words (2, size).

        Halves are summed apart, which is exact for up to 2^29 entries.
        """
        halves = np.zeros((2, 2, size), dtype=np.uint64)
        for component in range(2):
            np.add.at(halves[0, component], index, values[component] & _HALF_MASK)
            np.add.at(halves[1, component], index, values[component] >> _HALF_BITS)
        return self.field.add(
            halves[0] % np.uint64(self.modulus),
            self.field.scale(halves[1] % np.uint64(self.modulus), 1 << 32),
        )

    def pull_back(self, term: AffineTerm, outer: Words, size: int, residues: Words | None) -> Words:
        """A^T e for a term's matrix A (factor included) and e (2, units): words (2, size).

        Args:
            term: the matrix.
            outer: e.
            size: columns of A.
            residues: the model's integers mod q; not needed for a public matrix.
        """
        gathered = np.ascontiguousarray(outer[:, term.outputs])
        if term.weights is not None:
            if residues is None:
                raise ValueError("these weights are hidden")
            weights = np.ascontiguousarray(residues[term.weights])
            gathered = self.field.mul(gathered, np.stack([weights, weights]))
        return self._factored(self.gather_add(gathered, term.inputs, size), term.factor)

    def push_forward(self, term: AffineTerm, inner: Words) -> Words:
        """A x for a public matrix (factor included) and x (2, columns): words (2, units)."""
        gathered = np.ascontiguousarray(inner[:, term.inputs])
        return self._factored(self.gather_add(gathered, term.outputs, term.units), term.factor)

    def weight_form(self, term: AffineTerm, outer: Words, inner: Words) -> WeightForm:
        """e^T A x as a linear form in the hidden entries of A (factor included)."""
        if term.weights is None:
            raise ValueError("these weights are public")
        values = self.extension.mul(
            np.ascontiguousarray(outer[:, term.outputs]),
            np.ascontiguousarray(inner[:, term.inputs]),
        )
        offset = int(term.weights.min())
        size = int(term.weights.max()) + 1 - offset
        summed = self.gather_add(values, term.weights - offset, size)
        return WeightForm(offset, self._factored(summed, term.factor))

    def bias_form(self, bias: Int64s, outer: Words, factor: tuple[int, int]) -> WeightForm:
        """Factor * sum_j e_j w[bias_j] as a linear form in the model's integers."""
        offset = int(bias.min())
        summed = self.gather_add(outer, bias - offset, int(bias.max()) + 1 - offset)
        return WeightForm(offset, self.extension.scale(summed, np.array(factor, dtype=np.uint64)))

    def _factored(self, words: Words, factor: int) -> Words:
        return words if factor == 1 else self.field.scale(words, factor)


@lru_cache(maxsize=64)
def limb_of(modulus: int) -> Limb:
    """The arithmetic of one prime."""
    elements = scalars(modulus)
    return Limb(modulus, field(modulus), extension(modulus), elements, Algebra(elements))
