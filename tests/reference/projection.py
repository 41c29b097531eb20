"""Packed 0/1 matrices and the two ways to multiply by them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def unpack(bits: NDArray[np.uint8]) -> list[list[int]]:
    """``r[s][j]``, eight rows to a byte, lowest bit first."""
    groups, _ = bits.shape
    return [[(int(byte) >> (s % 8)) & 1 for byte in bits[s // 8]] for s in range(8 * groups)]


def fold(matrix: list[list[int]], gammas: list[list[int]], n: int, q: int) -> list[list[int]]:
    """``sum_s gammas[c][s] matrix[s][j]``."""
    return [
        [sum(gamma * row[j] for gamma, row in zip(line, matrix, strict=True)) % q for j in range(n)]
        for line in gammas
    ]


def project(matrix: list[list[int]], x: list[int]) -> list[int]:
    """``sum_j matrix[s][j] x[j]``, exactly."""
    return [sum(a * b for a, b in zip(row, x, strict=True)) for row in matrix]
