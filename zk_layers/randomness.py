"""Prover randomness: masks, salts, blinding rows.

One 32-byte seed per attempt = HMAC(server key, OS randomness || statement || attempt).  OS
randomness makes proofs independent; the key and the statement keep them apart even when a
virtual machine is rolled back and the OS repeats itself.  Labelled subseeds are expanded by
ChaCha20, and no subseed is used twice.
"""

from __future__ import annotations

import hashlib
import hmac
import os
from itertools import islice

import numpy as np
import numpy.typing as npt

import kernels

Words = npt.NDArray[np.uint64]


class ProverRandomness:
    """A labelled source of secret randomness for one proof attempt."""

    def __init__(self, seed: bytes) -> None:
        self._seed = seed
        self._used: set[str] = set()

    @classmethod
    def fresh(cls, server_key: bytes, statement: bytes, attempt: int = 0) -> ProverRandomness:
        """Mix a long-term key, the operating system's randomness and the statement."""
        message = os.urandom(32) + attempt.to_bytes(8, "little") + statement
        return cls(hmac.new(server_key, message, hashlib.sha256).digest())

    def _subseed(self, label: str) -> bytes:
        if label in self._used:
            raise RuntimeError(f"prover randomness '{label}' would be used twice")
        self._used.add(label)
        return hmac.new(self._seed, label.encode(), hashlib.sha256).digest()

    def bytes(self, label: str, count: int) -> bytes:
        """Uniform bytes."""
        return kernels.chacha_bytes(self._subseed(label), count)

    def field(self, label: str, shape: tuple[int, ...], modulus: int) -> Words:
        """Uniform field elements."""
        count = int(np.prod(shape))
        return kernels.chacha_field(self._subseed(label), modulus, count).reshape(shape)

    def masks(self, label: str, count: int, bound: int) -> list[int]:
        """Uniform integers in [-bound, bound], by rejection."""
        span = 2 * bound + 1
        width = (span.bit_length() + 7) // 8
        ones = (1 << span.bit_length()) - 1
        drawn = 2 * count + 64  # a candidate is kept with probability above 1/2
        while True:
            stream = self.bytes(f"{label}/{drawn}", drawn * width)
            candidates = (
                int.from_bytes(stream[at : at + width], "little") & ones
                for at in range(0, len(stream), width)
            )
            kept = (candidate - bound for candidate in candidates if candidate < span)
            values = list(islice(kept, count))
            if len(values) == count:
                return values
            drawn *= 2
