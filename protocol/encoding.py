"""Canonical encoding: one byte string for one value, and back.

Everything that is hashed or stored is encoded here, never by protobuf or by SEAL.  A value is
None, bool, int, float (finite), str, bytes or a tuple of values; each starts with a one-byte tag:

    n            None
    t | f        True, False
    i len int    two's complement, little-endian, shortest form; len is u32
    d 8 bytes    IEEE 754 double, little-endian, finite, no negative zero
    s len utf-8  len is u64
    b len bytes  len is u64
    l count ...  a tuple; count is u32

`decode` accepts exactly the image of `encode`, so equal bytes mean equal values.
"""

from __future__ import annotations

import math
import struct
from typing import TypeAlias

from protocol.errors import EncodingError

Value: TypeAlias = "bool | int | float | str | bytes | tuple[Value, ...] | None"

MAX_DEPTH = 16
MAX_INT_BYTES = 1 << 16
MAX_ITEMS = 1 << 18
"""Values in one decoding: bounds the objects that hostile bytes can make."""


def encode(value: Value) -> bytes:
    """Encode one value.

    Raises:
        EncodingError: for a type or a float that has no canonical form.
    """
    out = bytearray()
    _encode(value, out, 0)
    return bytes(out)


def _encode(value: Value, out: bytearray, depth: int) -> None:
    if depth > MAX_DEPTH:
        raise EncodingError(f"value nested deeper than {MAX_DEPTH} levels")
    if value is None:
        out += b"n"
    elif isinstance(value, bool):
        out += b"t" if value else b"f"
    elif isinstance(value, int):
        body = _int_bytes(int(value))
        if len(body) > MAX_INT_BYTES:
            raise EncodingError(f"integer of {len(body)} bytes, at most {MAX_INT_BYTES}")
        out += b"i" + struct.pack("<I", len(body)) + body
    elif isinstance(value, float):
        if not math.isfinite(value):
            raise EncodingError("a float must be finite to be encoded")
        out += b"d" + struct.pack("<d", value + 0.0)  # -0.0 + 0.0 is +0.0
    elif isinstance(value, str):
        text = _text_bytes(value)
        out += b"s" + struct.pack("<Q", len(text)) + text
    elif isinstance(value, bytes):
        out += b"b" + struct.pack("<Q", len(value)) + value
    elif isinstance(value, tuple):
        out += b"l" + struct.pack("<I", len(value))
        for item in value:
            _encode(item, out, depth + 1)
    else:
        raise EncodingError(f"values of type {type(value).__name__} have no canonical encoding")


def _int_bytes(value: int) -> bytes:
    magnitude = value if value >= 0 else ~value
    return value.to_bytes(magnitude.bit_length() // 8 + 1, "little", signed=True)


def _text_bytes(value: str) -> bytes:
    try:
        return value.encode()
    except UnicodeEncodeError as error:  # a lone surrogate
        raise EncodingError("text has no UTF-8 form") from error


def decode(data: bytes) -> Value:
    """Decode one value; every byte must be read and every form canonical.

    Raises:
        EncodingError: on anything that `encode` would not have written.
    """
    value, end = _Decoder(memoryview(data)).value(0, 0)
    if end != len(data):
        raise EncodingError(f"{len(data) - end} unread bytes after the value")
    return value


class _Decoder:
    """Decodes one byte string, counting the values it makes."""

    def __init__(self, data: memoryview) -> None:
        self._data = data
        self._items = 0

    def _take(self, start: int, count: int) -> memoryview:
        left = len(self._data) - start
        if count > left:
            raise EncodingError(f"truncated: {count} bytes wanted, {left} left")
        return self._data[start : start + count]

    def value(self, at: int, depth: int) -> tuple[Value, int]:
        """The value that starts at a position, and where it ends."""
        self._items += 1
        if depth > MAX_DEPTH or self._items > MAX_ITEMS:
            raise EncodingError(f"more than {MAX_DEPTH} levels or {MAX_ITEMS} values")
        tag = bytes(self._take(at, 1))
        at += 1
        if tag == b"n":
            return None, at
        if tag in {b"t", b"f"}:
            return tag == b"t", at
        if tag == b"d":
            return _decode_float(self._take(at, 8)), at + 8
        if tag == b"i":
            (size,) = struct.unpack("<I", self._take(at, 4))
            if size > MAX_INT_BYTES:
                raise EncodingError(f"integer of {size} bytes, at most {MAX_INT_BYTES}")
            return _decode_int(self._take(at + 4, size)), at + 4 + size
        if tag in {b"s", b"b"}:
            (size,) = struct.unpack("<Q", self._take(at, 8))
            body = bytes(self._take(at + 8, size))
            return (_decode_text(body) if tag == b"s" else body), at + 8 + size
        if tag == b"l":
            (count,) = struct.unpack("<I", self._take(at, 4))
            return self._tuple(at + 4, count, depth)
        raise EncodingError(f"unknown tag {tag!r}")

    def _tuple(self, at: int, count: int, depth: int) -> tuple[Value, int]:
        if count > len(self._data) - at:  # every item takes a byte at least
            raise EncodingError(f"tuple of {count} items in {len(self._data) - at} bytes")
        items = []
        for _ in range(count):
            item, at = self.value(at, depth + 1)
            items.append(item)
        return tuple(items), at


def _decode_float(body: memoryview) -> float:
    value: float = struct.unpack("<d", body)[0]
    if not math.isfinite(value) or (value == 0 and bytes(body) != bytes(8)):
        raise EncodingError("float is not finite or not canonical")
    return value


def _decode_int(body: memoryview) -> int:
    value = int.from_bytes(body, "little", signed=True)
    if bytes(body) != _int_bytes(value):
        raise EncodingError("integer is not in its shortest form")
    return value


def _decode_text(body: bytes) -> str:
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise EncodingError("text is not UTF-8") from error


def expect_int(value: Value, name: str) -> int:
    """Return a decoded integer (booleans refused)."""
    if type(value) is not int:
        raise EncodingError(f"{name}: expected an integer, found {type(value).__name__}")
    return value


def expect_bool(value: Value, name: str) -> bool:
    """Return a decoded boolean."""
    if type(value) is not bool:
        raise EncodingError(f"{name}: expected a boolean, found {type(value).__name__}")
    return value


def expect_float(value: Value, name: str) -> float:
    """Return a decoded float."""
    if type(value) is not float:
        raise EncodingError(f"{name}: expected a float, found {type(value).__name__}")
    return value


def expect_text(value: Value, name: str) -> str:
    """Return decoded text."""
    if type(value) is not str:
        raise EncodingError(f"{name}: expected text, found {type(value).__name__}")
    return value


def expect_bytes(value: Value, name: str, size: int | None = None) -> bytes:
    """Return decoded bytes, of the given size if one is given."""
    if type(value) is not bytes:
        raise EncodingError(f"{name}: expected bytes, found {type(value).__name__}")
    if size is not None and len(value) != size:
        raise EncodingError(f"{name}: expected {size} bytes, found {len(value)}")
    return value


def expect_tuple(value: Value, name: str, size: int | None = None) -> tuple[Value, ...]:
    """Return a decoded tuple, of the given size if one is given."""
    if not isinstance(value, tuple):
        raise EncodingError(f"{name}: expected a tuple, found {type(value).__name__}")
    if size is not None and len(value) != size:
        raise EncodingError(f"{name}: expected {size} items, found {len(value)}")
    return value
