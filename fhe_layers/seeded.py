"""Seeded ciphertexts: half the size on the wire, expanded by whoever evaluates.

In symmetric encryption c1 is uniform and carries no message, so its 64-byte generator seed travels
in its place. Symbols: K ciphertexts, L limbs, N ring degree.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

import kernels
from fhe_layers import rns
from protocol.errors import ShapeError

SEED_BYTES = 64


def expand(seeds: Sequence[bytes], c0: rns.Words, moduli: Sequence[int]) -> rns.Words:
    """NTT words c0 (K, L, N) and the K seeds of c1 to ciphertexts (K, 2, L, N).

    c1 is exactly what SEAL's generator and uniform sampler give for that seed.

    Raises:
        ShapeError: numbers or lengths do not match.
        EncodingError: a word of c0 is not below its modulus.
    """
    if c0.ndim != 3:
        raise ShapeError(f"c0: expected (K, L, N), found {c0.shape}")
    degree = c0.shape[-1]
    rns.require_words(c0, (len(seeds), len(moduli), degree), moduli, "c0")
    if any(len(seed) != SEED_BYTES for seed in seeds):
        raise ShapeError(f"every ciphertext seed must have {SEED_BYTES} bytes")
    c1 = kernels.expand_seal_seeds(list(seeds), list(moduli), degree)
    return np.stack([c0, c1], axis=1)
