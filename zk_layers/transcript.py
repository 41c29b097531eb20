"""The Fiat-Shamir transcript: one labelled hash chain over SHA-256.

State st is 32 bytes.  With len4, len8 little-endian lengths:

    start      st = SHA-256("blindproof transcript/1" || len4(label) || label)
    absorb     st = SHA-256(st || "absorb" || len4(label) || label || len8(data) || data)
    challenge  seed = SHA-256(st || "challenge" || len4(label) || label),
               then st = SHA-256(st || "ratchet")

A seed is expanded by SHA-256 in counter mode.  Field elements are masked to the prime's length and
rejected when too large, never reduced; all parallel random vectors of a step come from one seed.
"""

from __future__ import annotations

import hashlib
import struct

import numpy as np
import numpy.typing as npt

import kernels

Words = npt.NDArray[np.uint64]


def _labelled(label: str) -> bytes:
    text = label.encode()
    return struct.pack("<I", len(text)) + text


class Transcript:
    """The state shared by prover and verifier."""

    def __init__(self, label: str) -> None:
        self._state = hashlib.sha256(b"blindproof transcript/1" + _labelled(label)).digest()

    def absorb(self, label: str, data: bytes) -> None:
        """Bind a message; every later challenge depends on it."""
        framed = _labelled(label) + struct.pack("<Q", len(data))
        self._state = hashlib.sha256(self._state + b"absorb" + framed + data).digest()

    def challenge_seed(self, label: str) -> bytes:
        """Draw a 32-byte seed and step forward."""
        seed = hashlib.sha256(self._state + b"challenge" + _labelled(label)).digest()
        self._state = hashlib.sha256(self._state + b"ratchet").digest()
        return seed

    def challenge_field(self, label: str, shape: tuple[int, ...], modulus: int) -> Words:
        """Uniform field elements of the given shape."""
        count = int(np.prod(shape))
        return kernels.xof_field(self.challenge_seed(label), modulus, count).reshape(shape)

    def challenge_bits(self, label: str, groups: int, size: int) -> npt.NDArray[np.uint8]:
        """Uniform bits (groups, size): bit b of byte [g, j] belongs to vector 8 g + b."""
        stream = kernels.xof_bytes(self.challenge_seed(label), groups * size)
        return np.frombuffer(stream, dtype=np.uint8).reshape(groups, size)

    def challenge_integers(self, label: str, vectors: int, size: int) -> npt.NDArray[np.int32]:
        """Uniform signed 32-bit integers (vectors, size)."""
        stream = kernels.xof_bytes(self.challenge_seed(label), 4 * vectors * size)
        return np.frombuffer(stream, dtype="<i4").reshape(vectors, size)

    def challenge_positions(self, label: str, count: int, length: int) -> npt.NDArray[np.int64]:
        """`count` distinct positions below `length` (a power of two), ascending.

        The stream's 8-byte words, reduced mod the power of two, are taken in order until enough
        distinct ones were seen.
        """
        seed = self.challenge_seed(label)
        seen: dict[int, None] = {}
        words = 2 * count
        while True:
            stream = np.frombuffer(kernels.xof_bytes(seed, 8 * words), dtype="<u8")
            seen = dict.fromkeys(int(word) & (length - 1) for word in stream)
            if len(seen) >= count:
                return np.array(sorted(list(seen)[:count]), dtype=np.int64)
            words *= 2
