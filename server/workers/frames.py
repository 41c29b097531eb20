"""What travels between a server and its workers: a kind, canonical values, and long byte strings.

    head length     8 bytes, little-endian
    head            canonical (kind, fields, lengths of the blobs)
    blobs           one after the other

Lengths are read before anything is taken for them, and bounded.
"""

from __future__ import annotations

import asyncio
import socket
import struct
from dataclasses import dataclass
from enum import StrEnum

from protocol.encoding import Value, decode, encode, expect_int, expect_text, expect_tuple
from protocol.errors import EncodingError

MAX_HEAD_BYTES = 1 << 20
MAX_BLOBS_BYTES = 4 << 30
"""Of one frame: a deep network's request has a hundred megabytes or two."""
_LENGTH = struct.Struct("<Q")


class Kind(StrEnum):
    """What a frame says.  Those of the server first."""

    CONFIGURE = "configure"
    INFER = "infer"
    ENROL = "enrol"
    EVALUATE = "evaluate"
    PROVE = "prove"
    SUPPLY = "supply"

    READY = "ready"
    WANTED = "wanted"
    ANSWER = "answer"
    VERIFIED = "verified"
    EVALUATED = "evaluated"
    REFUSED = "refused"


@dataclass(frozen=True, repr=False)
class Frame:
    """One message.

    Attributes:
        kind: what it says.
        fields: its short values.
        blobs: its long ones.
    """

    kind: Kind
    fields: tuple[Value, ...] = ()
    blobs: tuple[bytes, ...] = ()

    def pieces(self) -> list[bytes]:
        """The frame's bytes, without a copy of the blobs."""
        head = encode((str(self.kind), self.fields, tuple(map(len, self.blobs))))
        return [_LENGTH.pack(len(head)) + head, *self.blobs]

    def encoded(self) -> bytes:
        """The frame's bytes in one piece, for `decode_frame`."""
        return b"".join(self.pieces())


def decode_frame(data: bytes) -> Frame:
    """A whole frame.

    Raises:
        EncodingError: these bytes are none, or more than one.
    """
    view, start = memoryview(data), _LENGTH.size
    if len(view) < start or len(view) - start < (count := _head_bytes(data[:start])):
        raise EncodingError("a frame is cut short")
    at = start + count
    kind, fields, sizes = _parsed(data[start:at])
    if len(view) != at + sum(sizes):
        raise EncodingError(f"frame of {len(view)} bytes, expected {at + sum(sizes)}")
    blobs = []
    for size in sizes:
        blobs.append(bytes(view[at : at + size]))
        at += size
    return Frame(kind, fields, tuple(blobs))


async def read_frame(reader: asyncio.StreamReader) -> Frame:
    """The next frame.

    Raises:
        EncodingError: what came is none.
        asyncio.IncompleteReadError: the other side has gone.
    """
    kind, fields, sizes = _parsed(await reader.readexactly(_head_bytes(await _length(reader))))
    return Frame(kind, fields, tuple([await reader.readexactly(size) for size in sizes]))


async def _length(reader: asyncio.StreamReader) -> bytes:
    return await reader.readexactly(_LENGTH.size)


def receive_frame(connection: socket.socket) -> Frame | None:
    """Wait for the next frame; None once the other side has gone.

    Raises:
        EncodingError: what came is none.
    """
    try:
        head = _received(connection, _head_bytes(_received(connection, _LENGTH.size)))
        kind, fields, sizes = _parsed(head)
        return Frame(kind, fields, tuple(_received(connection, size) for size in sizes))
    except (EOFError, OSError):
        return None


def send_frame(connection: socket.socket, frame: Frame) -> None:
    """Send a frame.  Raises OSError: the other side has gone."""
    for piece in frame.pieces():
        connection.sendall(piece)


def _received(connection: socket.socket, count: int) -> bytes:
    data = bytearray(count)
    view, at = memoryview(data), 0
    while at < count:
        taken = connection.recv_into(view[at:])
        if not taken:
            raise EOFError
        at += taken
    return bytes(data)


def _head_bytes(length: bytes) -> int:
    (count,) = _LENGTH.unpack(length)
    if count > MAX_HEAD_BYTES:
        raise EncodingError(f"frame with a head of {count} bytes, at most {MAX_HEAD_BYTES}")
    return int(count)


def _parsed(head: bytes) -> tuple[Kind, tuple[Value, ...], tuple[int, ...]]:
    kind, fields, sizes = expect_tuple(decode(head), "frame", 3)
    try:
        named = Kind(expect_text(kind, "kind"))
    except ValueError:
        raise EncodingError(f"no frame is of kind {kind!r}") from None
    lengths = tuple(expect_int(size, "length of a blob") for size in expect_tuple(sizes, "lengths"))
    if min(lengths, default=0) < 0 or sum(lengths) > MAX_BLOBS_BYTES:
        raise EncodingError(f"frame with {sum(lengths)} bytes, at most {MAX_BLOBS_BYTES}")
    return named, expect_tuple(fields, "fields"), lengths
