from __future__ import annotations

import math
import struct

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import (
    MAX_DEPTH,
    MAX_INT_BYTES,
    decode,
    encode,
    expect_bytes,
    expect_float,
    expect_int,
    expect_text,
    expect_tuple,
)
from protocol.errors import EncodingError

leaves = (
    st.none()
    | st.booleans()
    | st.integers()
    | st.integers(-(1 << 300), 1 << 300)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.binary()
)
values = st.recursive(leaves, lambda inner: st.lists(inner, max_size=4).map(tuple), max_leaves=20)


def same(a: object, b: object) -> bool:
    """Equality that tells True from 1 and 1 from 1.0."""
    if isinstance(a, tuple) and isinstance(b, tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return type(a) is type(b) and a == b


@pytest.mark.accepts("C-04")
@given(values)
def test_values_come_back(value):
    assert same(decode(encode(value)), value)


@given(values, values)
def test_different_values_have_different_bytes(first, second):
    assert (encode(first) == encode(second)) == same(first, second)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_the_canonical_form(data):
    try:
        value = decode(data)
    except EncodingError:
        return
    assert encode(value) == data


@given(values, st.data())
def test_a_changed_byte_is_refused_or_another_value(value, data):
    encoded = bytearray(encode(value))
    at = data.draw(st.integers(0, len(encoded) - 1))
    encoded[at] ^= data.draw(st.integers(1, 255))
    try:
        other = decode(bytes(encoded))
    except EncodingError:
        return
    assert not same(other, value)


@pytest.mark.rejects("C-04")
@given(values, st.binary(min_size=1, max_size=8))
def test_cut_and_extended_encodings_are_refused(value, tail):
    encoded = encode(value)
    with pytest.raises(EncodingError):
        decode(encoded + tail)
    for end in range(len(encoded)):
        with pytest.raises(EncodingError):
            decode(encoded[:end])


def u32(value: int) -> bytes:
    return struct.pack("<I", value)


def u64(value: int) -> bytes:
    return struct.pack("<Q", value)


NON_CANONICAL = {
    "empty": b"",
    "unknown tag": b"x",
    "integer of no bytes": b"i" + u32(0),
    "zero in two bytes": b"i" + u32(2) + b"\0\0",
    "one in two bytes": b"i" + u32(2) + b"\1\0",
    "minus one in two bytes": b"i" + u32(2) + b"\xff\xff",
    "integer too long": b"i" + u32(MAX_INT_BYTES + 1) + bytes(MAX_INT_BYTES) + b"\1",
    "negative zero": b"d" + struct.pack("<d", -0.0),
    "infinity": b"d" + struct.pack("<d", math.inf),
    "not a number": b"d" + struct.pack("<d", math.nan),
    "signalling not a number": b"d" + struct.pack("<Q", 0x7FF0000000000001),
    "text that is not utf-8": b"s" + u64(1) + b"\xff",
    "overlong utf-8": b"s" + u64(2) + b"\xc0\x80",
    "surrogate": b"s" + u64(3) + b"\xed\xa0\x80",
    "text that ends early": b"s" + u64(5) + b"abcd",
    "huge text": b"s" + u64((1 << 64) - 1),
    "huge bytes": b"b" + u64(1 << 63),
    "huge tuple": b"l" + u32((1 << 32) - 1),
    "tuple with too few items": b"l" + u32(2) + b"n",
    "bytes after the value": b"nn",
    "too deep": (b"l" + u32(1)) * (MAX_DEPTH + 1) + b"n",
}


@pytest.mark.rejects("C-04")
@pytest.mark.parametrize("name", NON_CANONICAL)
def test_forms_which_the_encoder_never_writes_are_refused(name):
    with pytest.raises(EncodingError):
        decode(NON_CANONICAL[name])


@pytest.mark.parametrize(
    "value",
    [
        math.nan,
        math.inf,
        -math.inf,
        [1],
        {"a": 1},
        np.int64(1),
        np.array([1]),
        bytearray(b"x"),
        (1, [2]),
        "\ud800",
        1 << (8 * MAX_INT_BYTES),
        1j,
    ],
    ids=lambda value: type(value).__name__,
)
def test_values_without_a_canonical_form_are_refused(value):
    with pytest.raises(EncodingError):
        encode(value)


def test_the_deepest_value_and_the_longest_integer_come_back():
    value: object = None
    for _ in range(MAX_DEPTH):
        value = (value,)
    assert decode(encode(value)) == value
    with pytest.raises(EncodingError):
        encode((value,))
    longest = (1 << (8 * MAX_INT_BYTES - 1)) - 1
    assert decode(encode(longest)) == longest


def test_negative_zero_is_written_as_zero():
    assert encode(-0.0) == encode(0.0)


def test_expected_types_are_exact():
    assert expect_int(3, "x") == 3
    assert expect_float(1.5, "x") == 1.5
    assert expect_text("a", "x") == "a"
    assert expect_bytes(b"ab", "x", 2) == b"ab"
    assert expect_tuple((1, 2), "x", 2) == (1, 2)
    for expectation, wrong in (
        (expect_int, True),
        (expect_int, 1.0),
        (expect_float, 1),
        (expect_text, b"a"),
        (expect_bytes, "a"),
        (expect_tuple, "ab"),
    ):
        with pytest.raises(EncodingError, match="field"):
            expectation(wrong, "field")
    with pytest.raises(EncodingError):
        expect_bytes(b"ab", "x", 3)
    with pytest.raises(EncodingError):
        expect_tuple((1, 2), "x", 3)
