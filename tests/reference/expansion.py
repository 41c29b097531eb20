"""Expanded ciphertexts for tests that start from SEAL's own seeds."""

from __future__ import annotations

from collections.abc import Sequence

from protocol.ciphertexts import SeededCiphertexts
from protocol.digests import Words


def expand(seeds: Sequence[bytes], c0: Words, moduli: Sequence[int]) -> Words:
    """Seeds and c_0 (K, L, N) to ciphertexts (K, 2, L, N)."""
    return SeededCiphertexts(tuple(seeds), c0, tuple(moduli)).words
