"""Messages both sides encode and draw in the same way."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from protocol.families import Family
from zk_layers.ligero.shape import COMPONENTS, LimbShape
from zk_layers.transcript import Transcript

Words = npt.NDArray[np.uint64]


def encode_projections(families: Sequence[Family], projected: Sequence[Sequence[int]]) -> bytes:
    """The integers U, family after family, each of the family's fixed width."""
    return b"".join(
        value.to_bytes(width, "little", signed=True)
        for family, values in zip(families, projected, strict=True)
        for width in (family.encoded_bytes,)
        for value in values
    )


def decode_projections(families: Sequence[Family], data: bytes) -> tuple[tuple[int, ...], ...]:
    """The inverse of `encode_projections`, on data of the right length."""
    projected, at = [], 0
    for family in families:
        width = family.encoded_bytes
        end = at + width * family.projections
        projected.append(
            tuple(
                int.from_bytes(data[start : start + width], "little", signed=True)
                for start in range(at, end, width)
            )
        )
        at = end
    return tuple(projected)


def projection_bytes(families: Sequence[Family]) -> int:
    """Length of the encoded integers."""
    return sum(family.encoded_bytes * family.projections for family in families)


def row_challenges(
    transcript: Transcript, limb: int, modulus: int, shape: LimbShape
) -> tuple[Words, Words]:
    """Coefficients of the proximity test (2, rows) and of the quadratic test (2, triples)."""
    proximity = transcript.challenge_field(
        f"rows {limb}", (COMPONENTS, shape.witness_rows), modulus
    )
    if not shape.quadratic:
        return proximity, np.zeros((COMPONENTS, 0), dtype=np.uint64)
    products = transcript.challenge_field(
        f"products {limb}", (COMPONENTS, len(shape.triples)), modulus
    )
    return proximity, products
