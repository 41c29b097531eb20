"""Labelled SHA-256 digests of values and of word arrays.

A digest is SHA-256(encode((label, value))): labels separate domains, the canonical encoding
separates fields.  Large word arrays are digested in chunks, so that both cores can work:
digest = H(label, (shape, chunk size, the chunks' SHA-256 one after the other)).
"""

from __future__ import annotations

import hashlib

import numpy as np
import numpy.typing as npt

import kernels
from protocol.encoding import Value, encode

Words = npt.NDArray[np.uint64]

DIGEST_BYTES = 32
CHUNK_BYTES = 1 << 18


def digest(label: str, value: Value) -> bytes:
    """Return the 32-byte digest of a value under a label."""
    return hashlib.sha256(encode((label, value))).digest()


def encoded_digest(label: str, encoded: bytes) -> bytes:
    """The digest of a value given as its canonical bytes, without decoding them."""
    pair = b"l" + (2).to_bytes(4, "little") + encode(label) + encoded
    return hashlib.sha256(pair).digest()


def words_digest(label: str, words: Words, chunk_bytes: int = CHUNK_BYTES) -> bytes:
    """Return the digest of an array of words of any shape, little-endian, C order."""
    chunks = kernels.sha256_chunks(words, chunk_bytes)
    return digest(label, (tuple(int(size) for size in words.shape), chunk_bytes, chunks))
