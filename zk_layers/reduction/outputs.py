"""The first claim is about all outputs, each under its own vector: make it one claim.

    v = sum_j sum_n lam_j(n) Y_sigma(j, n)

A sum-check of degree 2 over j leaves lam*(n) = sum_j eq(rho, j) lam_j(n) and the product claim
v' = sum_{j,n} eq(rho, j) lam*(n) Y_sigma(j, n).  With one output there is nothing to do.

Soundness in a limb: 2 log2 J / |E|.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import kernels
from zk_layers.extension import Element, Scalars, element
from zk_layers.reduction.forms import Form
from zk_layers.reduction.pads import Pads
from zk_layers.reduction.rounds import rounds_of, run_rounds
from zk_layers.reduction.run import Claim, Run

Words = npt.NDArray[np.uint64]

ROUND_DEGREE = 2


@dataclass(frozen=True, eq=False)
class OutputsStep:
    """The pads of the rounds over the outputs.

    Attributes:
        rounds: per round, the pads of its message.
    """

    rounds: tuple[tuple[int | None, ...], ...]

    @classmethod
    def plan(cls, pads: Pads, outputs: int) -> OutputsStep:
        """Count the pads."""
        return cls(tuple(pads.many(ROUND_DEGREE) for _ in range(rounds_of(outputs))))

    @property
    def elements(self) -> int:
        """Elements of E sent, per limb."""
        return sum(len(pads) for pads in self.rounds)

    def reduce(self, run: Run, lams: Words, values: list[Form], outputs: Words | None) -> Claim:
        """The one claim on the output tensor.

        Args:
            run: the conversation.
            lams: lam_j, words (limbs, 2, J, N).
            values: v, per limb.
            outputs: the prover's Y_sigma, words (limbs, 2, J, N).
        """
        count = lams.shape[2]
        moduli = [limb.modulus for limb in run.limbs]
        state = None
        if outputs is not None and count > 1:
            gram = kernels.cross_gram(lams, outputs, moduli)
            state = _OutputsState([limb.scalars for limb in run.limbs], gram)
        challenges, ends = run_rounds(
            run.exchange,
            "outputs",
            self.rounds,
            values,
            algebras=run.algebras,
            state=state,
        )
        outer, tables = [], np.empty((len(run.limbs), 2, count), dtype=np.uint64)
        for index, limb in enumerate(run.limbs):
            points = np.array(challenges[index], dtype=np.uint64).reshape(-1, 2)
            tables[index] = limb.extension.eq_table(points)[:, :count]
            outer.append(np.ascontiguousarray(tables[index]))
        lam = kernels.combine_rows_extension(tables, lams, moduli)
        sums = []
        for index, limb in enumerate(run.limbs):
            ones = np.ones((1, lam.shape[2]), dtype=np.uint64)
            total = limb.extension.inner_words(ones, np.ascontiguousarray(lam[index]))
            sums.append(element(total[:, 0]))
        return Claim(lam, sums, outer, (), ends)


class _OutputsState:
    """Rounds on the matrix <lam_i, Y_j>, padded with zeros: small, so in Python integers."""

    def __init__(self, scalars: Sequence[Scalars], gram: Words) -> None:
        self._scalars = list(scalars)
        self._matrices: list[list[list[Element]]] = []
        size = 1 << rounds_of(gram.shape[2])
        for words in gram:
            count = words.shape[1]
            self._matrices.append(
                [
                    [
                        element(words[:, i, j]) if i < count and j < count else (0, 0)
                        for j in range(size)
                    ]
                    for i in range(size)
                ]
            )

    def message(self) -> Words:
        """At 0 and 2."""
        out = np.empty((len(self._matrices), ROUND_DEGREE, 2), dtype=np.uint64)
        for index, (scalars, matrix) in enumerate(zip(self._scalars, self._matrices, strict=True)):
            half = len(matrix) // 2
            low = scalars.add(*(matrix[j][j] for j in range(half)))
            high = scalars.add(*(matrix[j + half][j + half] for j in range(half)))
            mixed = scalars.add(
                *(matrix[j][j + half] for j in range(half)),
                *(matrix[j + half][j] for j in range(half)),
            )
            at_two = scalars.add(low, scalars.scale(high, 4), scalars.scale(mixed, -2))
            out[index] = [low, at_two]
        return out

    def bind(self, x: Words) -> None:
        """Fold rows and columns."""
        for index, scalars in enumerate(self._scalars):
            at = element(x[index])
            rows = _folded(scalars, self._matrices[index], at)
            columns = _folded(scalars, [list(row) for row in zip(*rows, strict=True)], at)
            self._matrices[index] = [list(row) for row in zip(*columns, strict=True)]


def _folded(scalars: Scalars, rows: list[list[Element]], x: Element) -> list[list[Element]]:
    half = len(rows) // 2
    return [
        [scalars.add(a, scalars.mul(x, scalars.sub(b, a))) for a, b in zip(low, high, strict=True)]
        for low, high in zip(rows[:half], rows[half:], strict=True)
    ]
