"""A stream of messages where there is no gRPC: each behind its length, as protobuf delimits them.

The length is a varint of protobuf's, at most `PREFIX_BYTES` long; libraries of protobuf read and
write this form (writeDelimitedTo, protodelim, serialize_length_prefixed).
"""

from __future__ import annotations

from protocol.errors import EncodingError
from wire.rpc import MAX_MESSAGE_BYTES

MEDIA_TYPE = "application/octet-stream"
PREFIX_BYTES = 4
"""A length of up to 28 bits."""

_MORE = 0x80
_BITS = 7


def delimited(message: bytes) -> bytes:
    """A message behind its length.

    Raises:
        EncodingError: it is longer than any may be.
    """
    if len(message) > MAX_MESSAGE_BYTES:
        raise EncodingError(_too_long(len(message), MAX_MESSAGE_BYTES))
    prefix, rest = bytearray(), len(message)
    while rest >= _MORE:
        prefix.append(rest & (_MORE - 1) | _MORE)
        rest >>= _BITS
    prefix.append(rest)
    return bytes(prefix) + message


class DelimitedReader:
    """Splits bytes, which come in pieces of any size, into messages.

    Never holds more than one message and the last piece.
    """

    def __init__(self, first_limit: int = MAX_MESSAGE_BYTES) -> None:
        """Begin.

        Args:
            first_limit: most bytes of the first message, which decides whether there are others.
        """
        self._limit = first_limit
        self._buffer = bytearray()

    def feed(self, data: bytes) -> None:
        """Take the next bytes."""
        self._buffer += data

    def next(self) -> bytes | None:
        """The next message; None if it has not come whole.

        Raises:
            EncodingError: its length is more than it may be, or longer written than need be.
        """
        length, start = self._prefix()
        if start == 0 or len(self._buffer) < start + length:
            return None
        message = bytes(self._buffer[start : start + length])
        del self._buffer[: start + length]
        self._limit = MAX_MESSAGE_BYTES
        return message

    def finish(self) -> None:
        """Nothing comes any more.  Raises EncodingError if a message has begun."""
        if self._buffer:
            raise EncodingError(f"the stream ended {len(self._buffer)} bytes into a message")

    def _prefix(self) -> tuple[int, int]:
        """The length that is due and the bytes that say it, none if they have not all come."""
        length = 0
        for position, byte in enumerate(self._buffer[:PREFIX_BYTES]):
            length |= (byte & (_MORE - 1)) << _BITS * position
            if byte < _MORE:
                if byte == 0 and position > 0:
                    raise EncodingError("a message's length is longer written than need be")
                if length > self._limit:
                    raise EncodingError(_too_long(length, self._limit))
                return length, position + 1
        if len(self._buffer) >= PREFIX_BYTES:
            raise EncodingError(f"a message's length has more than {PREFIX_BYTES} bytes")
        return 0, 0


def _too_long(length: int, limit: int) -> str:
    return f"message of {length} bytes, at most {limit}"
