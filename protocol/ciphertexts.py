"""Fresh ciphertexts as they travel: c_0 words, and a 64-byte seed in place of c_1.

In symmetric encryption c_1 is uniform and carries no message, so the seed of its generator stands
for it: half the size on the wire, and half the bytes in the digest.  What is proved is about the
expanded words; a statement binds the seeds.  This type is the one place where both meet.

Symbols: K ciphertexts, L limbs, N ring degree.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np

import kernels
from protocol.digests import Words
from protocol.errors import EncodingError, ShapeError
from protocol.request import SEED_BYTES, input_digest


@dataclass(frozen=True, eq=False)
class SeededCiphertexts:
    """Validated seed-compressed ciphertexts.

    Attributes:
        seeds: K seeds of 64 bytes.
        bodies: c_0 as NTT words (K, L, N), each below the modulus of its limb.
        moduli: the L primes.

    Raises:
        ShapeError: numbers or lengths do not match.
        EncodingError: a word of c_0 is not below its modulus.
    """

    seeds: tuple[bytes, ...]
    bodies: Words
    moduli: tuple[int, ...]

    def __post_init__(self) -> None:
        found, limbs = self.bodies.shape, len(self.moduli)
        if len(found) != 3 or found[:2] != (len(self.seeds), limbs) or 0 in found:
            raise ShapeError(f"c0: expected ({len(self.seeds)}, {limbs}, N) words, found {found}")
        if self.bodies.dtype != np.uint64:
            raise ShapeError(f"c0: expected uint64 words, found {self.bodies.dtype}")
        if any(len(seed) != SEED_BYTES for seed in self.seeds):
            raise ShapeError(f"every ciphertext seed must have {SEED_BYTES} bytes")
        for limb, prime in enumerate(self.moduli):
            if int(self.bodies[:, limb].max()) >= prime:
                raise EncodingError(f"c0: limb {limb} has a word that is not below {prime}")

    @cached_property
    def words(self) -> Words:
        """The ciphertexts (K, 2, L, N), kept."""
        return self.expanded()

    def expanded(self) -> Words:
        """The ciphertexts (K, 2, L, N): c_1 is exactly what SEAL's generator gives for a seed."""
        return kernels.expand_ciphertexts(list(self.seeds), self.bodies, list(self.moduli))

    @cached_property
    def digest(self) -> bytes:
        """Digest of seeds and c_0 words, one SHA-256 per ciphertext."""
        return input_digest(self.seeds, self.bodies)
