"""Sizes of a proof: which rows a limb has and where each field of the proof begins.

Rows of a limb, in order: witness rows, 2 blinding rows of degree < k for the proximity test, 2 of
degree < k + l - 1 with sum zero on H for the linear test and, in limbs with products, 2 multiples
of X^l - 1 of degree < 2k - 1 for the quadratic test.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from zk_layers.relation import Layout, Relation

COMPONENTS = 2
"""Base-field components of an element of E."""


@dataclass(frozen=True)
class LimbShape:
    """Rows of one limb.

    Attributes:
        layout: of the witness rows.
        triples: int64 (c, 3) row indices a, b, c with a * b = c.
    """

    layout: Layout
    triples: npt.NDArray[np.int64]

    @property
    def witness_rows(self) -> int:
        """Rows which carry the witness."""
        return self.layout.rows

    @property
    def quadratic(self) -> bool:
        """Whether this limb has products."""
        return bool(len(self.triples))

    @property
    def proximity(self) -> slice:
        """Rows blinding the proximity test."""
        return slice(self.witness_rows, self.witness_rows + COMPONENTS)

    @property
    def linear(self) -> slice:
        """Rows blinding the linear test."""
        return slice(self.proximity.stop, self.proximity.stop + COMPONENTS)

    @property
    def products(self) -> slice:
        """Rows blinding the quadratic test."""
        return slice(self.linear.stop, self.linear.stop + COMPONENTS)

    @property
    def rows(self) -> int:
        """All rows."""
        tests = 3 if self.quadratic else 2
        return self.witness_rows + tests * COMPONENTS


def limb_shapes(relation: Relation) -> tuple[LimbShape, ...]:
    """The shapes of all limbs of a relation."""
    shapes = []
    for limb, layout in enumerate(relation.layouts()):
        triples = [
            rows
            for names in relation.products(limb)
            for rows in zip(*(layout.rows_of(name) for name in names), strict=True)
        ]
        array = np.array(triples, dtype=np.int64).reshape(-1, 3)
        shapes.append(LimbShape(layout, array))
    return tuple(shapes)


def codeword_words(relation: Relation) -> int:
    """Words of all codewords, which a prover holds from the root to the opened columns."""
    rows = sum(shape.rows for shape in limb_shapes(relation))
    return rows * relation.code.codeword_length


def witness_words(relation: Relation) -> int:
    """Words of all witness rows before they are encoded."""
    return sum(layout.rows for layout in relation.layouts()) * relation.code.message_length
