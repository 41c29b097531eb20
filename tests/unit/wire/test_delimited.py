from __future__ import annotations

import io

import pytest
from google.protobuf import proto
from hypothesis import given
from hypothesis import strategies as st

from protocol.errors import EncodingError
from wire.delimited import DelimitedReader, delimited
from wire.rpc import MAX_MESSAGE_BYTES
from wire.v1 import models_pb2 as pb


def split(data: bytes, size: int, reader: DelimitedReader | None = None) -> list[bytes]:
    reader = reader or DelimitedReader()
    found = []
    for start in range(0, len(data), size):
        reader.feed(data[start : start + size])
        while (message := reader.next()) is not None:
            found.append(message)
    reader.finish()
    return found


@given(st.lists(st.binary(max_size=400), max_size=6), st.integers(1, 500))
def test_messages_come_back_however_their_bytes_are_cut(messages, size):
    assert split(b"".join(map(delimited, messages)), size) == messages


def test_the_form_is_that_of_protobufs_own_libraries():
    message = pb.GetModelRequest(digest=bytes(range(200)))
    written = io.BytesIO()
    proto.serialize_length_prefixed(message, written)
    assert delimited(message.SerializeToString()) == written.getvalue()


def test_the_longest_message_passes_and_a_longer_one_does_not():
    longest = bytes(MAX_MESSAGE_BYTES)
    assert split(delimited(longest), 1 << 16) == [longest]
    with pytest.raises(EncodingError, match="at most"):
        delimited(bytes(MAX_MESSAGE_BYTES + 1))
    with pytest.raises(EncodingError, match="at most"):
        split(b"\x81\x80\x80\x02" + bytes(100), 1)


def test_the_first_message_has_a_limit_of_its_own():
    data = delimited(bytes(200)) + delimited(bytes(300))
    assert len(split(data, 7, DelimitedReader(200))) == 2
    with pytest.raises(EncodingError, match="at most 199"):
        split(data, 7, DelimitedReader(199))


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (b"\x80\x80\x80\x80\x00", "more than 4 bytes"),
        (b"\xff\xff\xff\xff\x0f", "more than 4 bytes"),
        (b"\x81\x00a", "longer written than need be"),
        (b"\x80\x00", "longer written than need be"),
        (b"\x03ab", "ended 3 bytes into a message"),
        (b"\x80", "ended 1 bytes into a message"),
    ],
)
def test_a_malformed_stream_is_refused(data, complaint):
    with pytest.raises(EncodingError, match=complaint):
        split(data, 1)
