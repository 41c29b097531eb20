"""Projection vectors of a family: drawing, folding, projecting (docs/protocol.md, section 7)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

import kernels
from protocol.families import Family, FamilyKind
from zk_layers.transcript import Transcript

Words = npt.NDArray[np.uint64]
Integers: TypeAlias = "npt.NDArray[np.int64] | npt.NDArray[np.uint64]"
"""Family members: int64 (size,), or uint64 (size, 2) two's complement 128-bit little-endian."""
Pieces: TypeAlias = "tuple[tuple[int, npt.NDArray[np.int64]], ...]"
"""Members of any size: the sum of factor * int64 (size,), piece by piece."""


@dataclass(frozen=True)
class Projection:
    """The S projection vectors of one family.

    Attributes:
        family: what is projected.
        vectors: uint8 (S / 8, size) of packed bits, or int32 (S, size).
    """

    family: Family
    vectors: npt.NDArray[np.uint8] | npt.NDArray[np.int32]

    @classmethod
    def draw(cls, transcript: Transcript, family: Family) -> Projection:
        """Draw the vectors; the masks must have been absorbed."""
        label = f"projection {family.name}"
        if family.kind is FamilyKind.BINARY:
            groups = family.projections // 8
            return cls(family, transcript.challenge_bits(label, groups, family.size))
        vectors = transcript.challenge_integers(label, family.projections, family.size)
        return cls(family, vectors)

    def fold(self, gammas: Words, modulus: int) -> Words:
        """sum_s gamma[c, s] r_s mod q for each row c of gammas (C, S): words (C, size)."""
        if self.vectors.dtype == np.uint8:
            return kernels.fold_bits(modulus, self.vectors.view(np.uint8), gammas)
        return kernels.fold_i32(modulus, self.vectors.view(np.int32), gammas)

    def project(self, members: Integers | Pieces) -> list[int]:
        """The exact integers <r_s, x>."""
        if isinstance(members, tuple):
            parts = [[factor * value for value in self.project(piece)] for factor, piece in members]
            return [sum(values) for values in zip(*parts, strict=True)]
        if self.vectors.dtype == np.uint8:
            bits = self.vectors.view(np.uint8)
            if members.dtype == np.int64:
                return kernels.project_bits_i64(bits, members.view(np.int64))
            return kernels.project_bits_wide(bits, members.view(np.uint64))
        return kernels.project_i32(self.vectors.view(np.int32), members.view(np.int64))


def integer_residues(values: list[int], modulus: int) -> Words:
    """Residues of Python integers of any size."""
    return np.array([value % modulus for value in values], dtype=np.uint64)
