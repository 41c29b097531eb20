"""Deterministic streams and uniform words by rejection."""

from __future__ import annotations

import hashlib
from collections.abc import Callable

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms


def sha256_counter(seed: bytes, count: int) -> bytes:
    """``SHA-256(seed || le64(i))`` for ``i = 0, 1, ...``, cut to ``count`` bytes."""
    blocks = range(-(-count // 32))
    stream = b"".join(
        hashlib.sha256(seed + block.to_bytes(8, "little")).digest() for block in blocks
    )
    return stream[:count]


def chacha20(seed: bytes, count: int) -> bytes:
    """The ChaCha20 keystream of the key ``seed``, nonce and first counter zero."""
    encryptor = Cipher(algorithms.ChaCha20(seed, bytes(16)), mode=None).encryptor()
    return encryptor.update(bytes(count))


def field(stream: Callable[[bytes, int], bytes], seed: bytes, q: int, count: int) -> list[int]:
    """The first ``count`` words below ``q``, masked to its bit length, in stream order."""
    mask = (1 << q.bit_length()) - 1
    available = 2 * count + 16
    while True:
        raw = stream(seed, 8 * available)
        masked = (int.from_bytes(raw[i : i + 8], "little") & mask for i in range(0, len(raw), 8))
        accepted = [word for word in masked if word < q]
        if len(accepted) >= count:
            return accepted[:count]
        available *= 2
