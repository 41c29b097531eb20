"""From bytes to protobuf messages and from messages to word arrays, checked.

Symbols: L limbs, N ring degree.  Words are uint64, little-endian on the wire, each below the
modulus of its limb.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from protocol.digests import Words
from protocol.errors import EncodingError

WORD_BYTES = 8
PROOF_CHUNK_BYTES = 1 << 18

AnyMessage = TypeVar("AnyMessage", bound=Message)


def parse(kind: type[AnyMessage], data: bytes) -> AnyMessage:
    """Parse one message.

    Raises:
        EncodingError: the bytes are not a message of this kind.
    """
    message = kind()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise EncodingError(f"bytes are not a {kind.__name__}") from error
    return message


def parse_exactly(kind: type[AnyMessage], data: bytes) -> AnyMessage:
    """Parse a message that is archived as it came: nothing is in it that nobody looks at.

    Raises:
        EncodingError: not a message of this kind; or fields are unknown, given twice, or longer
            than they need be.
    """
    message = parse(kind, data)
    message.DiscardUnknownFields()
    if message.ByteSize() != len(data):
        raise EncodingError(
            f"{len(data) - message.ByteSize()} bytes of a {kind.__name__} say nothing"
        )
    return message


def expect_size(data: bytes, size: int, name: str) -> bytes:
    """Return the bytes if there are exactly `size` of them.

    Raises:
        EncodingError: otherwise.
    """
    if len(data) != size:
        raise EncodingError(f"{name}: expected {size} bytes, found {len(data)}")
    return data


def words_to_bytes(words: Words) -> bytes:
    """Little-endian bytes of words of any shape, C order."""
    return words.astype("<u8", copy=False).tobytes()


def words_from_bytes(
    data: bytes, shape: tuple[int, ...], moduli: Sequence[int], name: str, *, limb_axis: int = -2
) -> Words:
    """Words of a shape whose `limb_axis` has one entry per modulus; always a fresh array.

    Raises:
        EncodingError: not exactly that many bytes, or a word that is not below its modulus.
    """
    expect_size(data, WORD_BYTES * math.prod(shape), name)
    words = np.frombuffer(data, dtype="<u8").astype(np.uint64).reshape(shape)
    for limb, prime in enumerate(moduli):
        if (words.take(limb, axis=limb_axis) >= np.uint64(prime)).any():
            raise EncodingError(f"{name}: limb {limb} has a word that is not below {prime}")
    return words


def proof_pieces(proof: bytes) -> Iterator[bytes]:
    """A proof in pieces of at most PROOF_CHUNK_BYTES; none for an empty one."""
    for start in range(0, len(proof), PROOF_CHUNK_BYTES):
        yield proof[start : start + PROOF_CHUNK_BYTES]


class ProofBuffer:
    """Collects the pieces of a proof, or of something else, of announced length, never more."""

    def __init__(self, announced: int, limit: int, name: str = "proof") -> None:
        if announced > limit:
            raise EncodingError(f"{name} of {announced} bytes announced, at most {limit}")
        self._announced = announced
        self._name = name
        self._data = bytearray()

    @property
    def complete(self) -> bool:
        """Whether every announced byte is there."""
        return len(self._data) == self._announced

    def add(self, piece: bytes) -> None:
        """Append one piece.

        Raises:
            EncodingError: an empty piece, or more bytes than announced.
        """
        if not piece or len(self._data) + len(piece) > self._announced:
            raise EncodingError(
                f"{self._name} piece of {len(piece)} bytes where "
                f"{self._announced - len(self._data)} are left of the announced length"
            )
        self._data += piece

    def finish(self) -> bytes:
        """The proof.

        Raises:
            EncodingError: bytes are missing.
        """
        if not self.complete:
            raise EncodingError(
                f"{self._name} of {len(self._data)} bytes, {self._announced} were announced"
            )
        return bytes(self._data)
