"""The lattice commitment that is a private model's identity.

h = A w + B r in R'^2 with R' = F_q0[X]/(X^1024 + 1): w the model's integers, 1024 to a ring
element, r five ternary polynomials, A and B from a fixed public seed, everything in the NTT
domain.  Binding rests on Module-SIS, hiding on Module-LWE of rank 2 (docs/protocol.md, section 6).
"""

from __future__ import annotations

from functools import lru_cache

import numpy as np
import numpy.typing as npt

import kernels
from protocol.digests import digest
from protocol.errors import ParameterError
from protocol.families import (
    COMMITMENT_DEGREE,
    MAX_INTEGERS,
    OPENING_POLYNOMIALS,
    OPENING_SIZE,
)
from zk_layers.fields import field, ntt

Words = npt.NDArray[np.uint64]
RANK = 2


@lru_cache(maxsize=256)
def _matrix_entry(modulus: int, matrix: str, row: int, column: int) -> Words:
    """One uniform ring element of A or B, words (1024,), NTT domain."""
    seed = digest("blindproof commitment matrix", (modulus, matrix, row, column))
    entry = kernels.xof_field(seed, modulus, COMMITMENT_DEGREE)
    entry.setflags(write=False)
    return entry


def _columns(integers: int) -> list[tuple[str, int]]:
    """Matrix columns of a commitment to so many integers: A's, then B's."""
    if not 0 < integers <= MAX_INTEGERS:
        raise ParameterError(f"{integers} integers in a commitment, expected 1 to {MAX_INTEGERS}")
    blocks = -(-integers // COMMITMENT_DEGREE)
    weights = [("A", column) for column in range(blocks)]
    return weights + [("B", column) for column in range(OPENING_POLYNOMIALS)]


def commit(modulus: int, integers: Words, opening: Words) -> Words:
    """h of residues w (M,) and r (5120,) mod q_0: words (2, 1024)."""
    arithmetic, transform = field(modulus), ntt(modulus, COMMITMENT_DEGREE)
    columns = _columns(integers.size)
    padded = np.zeros((len(columns), COMMITMENT_DEGREE), dtype=np.uint64)
    padded[:-OPENING_POLYNOMIALS].reshape(-1)[: integers.size] = integers
    padded[-OPENING_POLYNOMIALS:] = opening.reshape(OPENING_POLYNOMIALS, COMMITMENT_DEGREE)
    transformed = transform.forward(padded)
    h = np.zeros((RANK, COMMITMENT_DEGREE), dtype=np.uint64)
    for row in range(RANK):
        for (matrix, column), element in zip(columns, transformed, strict=True):
            entry = _matrix_entry(modulus, matrix, row, column)
            h[row] = arithmetic.multiply_add(h[row], entry, element)
    return h


def commit_model(
    modulus: int, integers: npt.NDArray[np.int64], opening: npt.NDArray[np.int64]
) -> Words:
    """h of the model's integers (M,) under a ternary opening (5120,)."""
    arithmetic = field(modulus)
    return commit(modulus, arithmetic.reduce_i64(integers), arithmetic.reduce_i64(opening))


def opened_form(modulus: int, challenge: Words, integers: int) -> tuple[Words, Words]:
    """The transposed map: <d, h> as a linear form in w and r.

    Args:
        modulus: q_0.
        challenge: d, words (2 components, 2 rows, 1024).
        integers: M.

    Returns:
        Coefficients of w (2, M) and of r (2, 5120).
    """
    arithmetic, transform = field(modulus), ntt(modulus, COMMITMENT_DEGREE)
    columns = _columns(integers)
    folded = np.zeros((2, len(columns), COMMITMENT_DEGREE), dtype=np.uint64)
    for component in range(2):
        for index, (matrix, column) in enumerate(columns):
            for row in range(RANK):
                entry = _matrix_entry(modulus, matrix, row, column)
                folded[component, index] = arithmetic.multiply_add(
                    folded[component, index], entry, challenge[component, row]
                )
    coefficients = transform.forward_transpose(folded)
    weights = coefficients[:, :-OPENING_POLYNOMIALS].reshape(2, -1)[:, :integers]
    opening = coefficients[:, -OPENING_POLYNOMIALS:].reshape(2, OPENING_SIZE)
    return np.ascontiguousarray(weights), np.ascontiguousarray(opening)


def opened_target(modulus: int, challenge: Words, h: Words) -> tuple[int, int]:
    """<d, h> in both components."""
    arithmetic = field(modulus)
    flat = np.ascontiguousarray(h).reshape(-1)
    first, second = (arithmetic.dot(part.reshape(-1), flat) for part in challenge)
    return first, second


def sample_opening(seed: bytes) -> npt.NDArray[np.int64]:
    """A uniform ternary opening (5120,) from a secret 32-byte seed."""
    size = 2 * OPENING_SIZE
    while True:
        stream = np.frombuffer(kernels.chacha_bytes(seed, size), dtype=np.uint8)
        kept = stream[stream < 255]
        if kept.size >= OPENING_SIZE:
            return kept[:OPENING_SIZE].astype(np.int64) % 3 - 1
        size *= 2
