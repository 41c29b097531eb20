"""SEAL's serialised objects, read and written word by word. For objects of this process only.

SEAL keeps its words private behind C++ iterators; its stream format is the one way to all of them.
Nothing that came over a network is ever read here or handed to SEAL's loader: responses are
validated words first, and become a stream afterwards.

Formats of SEAL 4 (little-endian):

    stream      magic u16 = 0xA15E | header bytes u8 = 16 | version u8 u8 | compression u8
                | reserved u16 | total bytes u64 | body
    words       a stream with the body: count u64 | words u64[count]
    ciphertext  parms_id 4 u64 | NTT form u8 | size u64 | N u64 | L u64 | scale f64
                | correction u64 | words
    seeded      the same with the words of c0 only, then a stream: generator u8 | seed 64 bytes
    plaintext   parms_id 4 u64 | coefficient count u64 | scale f64 | words
    secret key  a plaintext over all primes

SEAL writes zstd; it reads uncompressed streams as well, which is what is written here.
"""

from __future__ import annotations

import os
import shutil
import struct
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import zstandard
from numpy.typing import NDArray

from protocol.errors import EncodingError

ParmsId = tuple[int, int, int, int]
Version = tuple[int, int]

SEED_BYTES = 64

_HEADER = struct.Struct("<HBBBBHQ")
_CIPHERTEXT = struct.Struct("<4QBQQQdQ")
_PLAINTEXT = struct.Struct("<4QQd")
_COUNT = struct.Struct("<Q")
_MAGIC = 0xA15E
_UNCOMPRESSED, _ZSTD = 0, 2
_BLAKE2XB = 1


@dataclass(frozen=True, eq=False, repr=False)
class SealCiphertext:
    """A ciphertext as SEAL wrote it: words (polys, L, N); only c0, (1, L, N), beside a seed."""

    parms_id: ParmsId
    words: NDArray[np.uint64]
    seed: bytes | None


@dataclass(frozen=True, eq=False, repr=False)
class SealPlaintext:
    """A plaintext or secret key as SEAL wrote it: flat words, limb after limb."""

    parms_id: ParmsId
    words: NDArray[np.uint64]


def stream_version(stream: bytes) -> Version:
    """The SEAL version (major, minor) in the header of a stream."""
    _, _, major, minor, *_ = _HEADER.unpack_from(stream)
    return int(major), int(minor)


def read_ciphertext(stream: bytes) -> SealCiphertext:
    """Parse a ciphertext, seeded or full. Raises EncodingError."""
    body, _ = _unwrap(memoryview(stream))
    *parms_id, _, polys, degree, limbs, _, _ = _CIPHERTEXT.unpack_from(body)
    words, rest = _read_words(body[_CIPHERTEXT.size :])
    seed = None
    if polys == 2 and words.size == limbs * degree:
        polys = 1
        info, _ = _unwrap(rest)
        if info[0] != _BLAKE2XB or len(info) != 1 + SEED_BYTES:
            raise EncodingError(f"SEAL seed: expected BLAKE2Xb with {SEED_BYTES} bytes")
        seed = bytes(info[1:])
    if words.size != polys * limbs * degree:
        raise EncodingError(f"SEAL ciphertext: {words.size} words for {polys}x{limbs}x{degree}")
    return SealCiphertext(_parms_id(parms_id), words.reshape(polys, limbs, degree), seed)


def read_plaintext(stream: bytes) -> SealPlaintext:
    """Parse a plaintext or a secret key. Raises EncodingError."""
    body, _ = _unwrap(memoryview(stream))
    *parms_id, _, _ = _PLAINTEXT.unpack_from(body)
    words, _ = _read_words(body[_PLAINTEXT.size :])
    return SealPlaintext(_parms_id(parms_id), words)


def write_ciphertext(
    words: NDArray[np.uint64], parms_id: ParmsId, scale: float, version: Version
) -> bytes:
    """A full NTT-form ciphertext from words (polys, L, N)."""
    polys, limbs, degree = words.shape
    head = _CIPHERTEXT.pack(*parms_id, 1, polys, degree, limbs, scale, 1)
    return _wrap(head, _words_stream(words, version), version=version)


def write_plaintext(
    words: NDArray[np.uint64], parms_id: ParmsId, scale: float, version: Version
) -> bytes:
    """A plaintext from NTT words (L, N), or a secret key from those over all primes."""
    head = _PLAINTEXT.pack(*parms_id, words.size, scale)
    return _wrap(head, _words_stream(words, version), version=version)


class SealObject(Protocol):
    """What this module needs of a SEAL object: it saves itself to a path."""

    def save(self, path: str, /) -> None:
        """Write the object's stream to a file."""


def save(seal_object: SealObject) -> bytes:
    """The stream of a SEAL object."""
    with _exchange_path() as path:
        seal_object.save(str(path))
        return path.read_bytes()


def load(empty: Any, context: Any, stream: bytes) -> None:  # noqa: ANN401 -- SEAL has no stubs
    """Fill an empty SEAL object from a stream written by this module."""
    with _exchange_path() as path:
        path.write_bytes(stream)
        empty.load(context, str(path))


@contextmanager
def _exchange_path() -> Iterator[Path]:
    """A path SEAL can write and read that is never on a disk: an anonymous file in memory.

    Where the system has none, a directory only this user can enter, removed at once.
    """
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("seal", os.MFD_CLOEXEC)
        try:
            yield Path(f"/proc/self/fd/{descriptor}")
        finally:
            os.close(descriptor)
    else:
        directory = tempfile.mkdtemp()  # mode 0700
        try:
            yield Path(directory) / "object"
        finally:
            shutil.rmtree(directory)


def _unwrap(data: memoryview) -> tuple[memoryview, memoryview]:
    """One stream off the front: (body, what follows it)."""
    if len(data) < _HEADER.size:
        raise EncodingError("SEAL stream: shorter than its header")
    magic, header_bytes, _, _, compression, _, total = _HEADER.unpack_from(data)
    if magic != _MAGIC or header_bytes != _HEADER.size or not _HEADER.size <= total <= len(data):
        raise EncodingError("SEAL stream: bad header")
    body = data[_HEADER.size : total]
    if compression == _ZSTD:
        body = memoryview(zstandard.ZstdDecompressor().decompressobj().decompress(body))
    elif compression != _UNCOMPRESSED:
        raise EncodingError(f"SEAL stream: compression {compression} is not supported")
    return body, data[total:]


def _wrap(*parts: bytes, version: Version) -> bytes:
    size = _HEADER.size + sum(map(len, parts))
    return b"".join((_HEADER.pack(_MAGIC, _HEADER.size, *version, _UNCOMPRESSED, 0, size), *parts))


def _read_words(data: memoryview) -> tuple[NDArray[np.uint64], memoryview]:
    body, rest = _unwrap(data)
    (count,) = _COUNT.unpack_from(body)
    if len(body) != _COUNT.size + 8 * count:
        raise EncodingError(f"SEAL words: {count} announced in {len(body)} bytes")
    # Copied: words sit at odd offsets in a stream, and the kernels take aligned arrays only.
    return np.frombuffer(body, dtype="<u8", offset=_COUNT.size).astype(np.uint64), rest


def _words_stream(words: NDArray[np.uint64], version: Version) -> bytes:
    return _wrap(
        _COUNT.pack(words.size), words.astype("<u8", copy=False).tobytes(), version=version
    )


def _parms_id(fields: list[int]) -> ParmsId:
    first, second, third, fourth = fields
    return first, second, third, fourth
