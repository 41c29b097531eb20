"""What travels between server and worker, from both ends."""

from __future__ import annotations

import asyncio
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.encoding import encode
from protocol.errors import EncodingError
from server.workers.frames import (
    MAX_BLOBS_BYTES,
    MAX_HEAD_BYTES,
    Frame,
    Kind,
    read_frame,
    receive_frame,
    send_frame,
)

FIELDS = st.lists(st.one_of(st.none(), st.integers(), st.text(), st.binary()), max_size=4)


def received(data: bytes) -> Frame | None:
    """By a worker: everything came, and nothing will follow."""
    ours, theirs = socket.socketpair()
    with theirs:
        with ours:
            ours.sendall(data)
        return receive_frame(theirs)


def read(data: bytes) -> Frame:
    """By a server."""

    async def feed() -> Frame:
        reader = asyncio.StreamReader()
        reader.feed_data(data)
        reader.feed_eof()
        return await read_frame(reader)

    return asyncio.run(feed())


def raw(head: bytes, *blobs: bytes) -> bytes:
    return struct.pack("<Q", len(head)) + head + b"".join(blobs)


@given(st.sampled_from(Kind), FIELDS, st.lists(st.binary(max_size=100), max_size=3))
def test_a_frame_arrives_as_it_was(kind, fields, blobs):
    frame = Frame(kind, tuple(fields), tuple(blobs))
    data = b"".join(frame.pieces())
    assert received(data) == frame
    assert read(data) == frame


def test_long_blobs_arrive_in_pieces():
    ours, theirs = socket.socketpair()
    frame = Frame(Kind.ANSWER, (), (bytes(3_000_000), b"end"))

    async def exchange() -> tuple[Frame, Frame | None]:
        reader, writer = await asyncio.open_unix_connection(sock=ours)
        sending = asyncio.to_thread(send_frame, theirs, frame)
        found, _ = await asyncio.gather(read_frame(reader), sending)
        writer.writelines(frame.pieces())
        back, _ = await asyncio.gather(asyncio.to_thread(receive_frame, theirs), writer.drain())
        writer.close()
        return found, back

    with theirs:
        assert asyncio.run(exchange()) == (frame, frame)


@pytest.mark.parametrize(
    ("data", "complaint"),
    [
        (struct.pack("<Q", MAX_HEAD_BYTES + 1), "head of"),
        (raw(encode(("dance", (), ()))), "no frame"),
        (raw(encode(("infer", ()))), "expected 3"),
        (raw(encode(("infer", (), (-1,)))), "bytes"),
        (raw(encode(("infer", (), (MAX_BLOBS_BYTES, 1)))), "bytes"),
        (raw(b"\xff"), "tag"),
    ],
    ids=["head", "kind", "short", "negative", "large", "encoding"],
)
def test_what_is_no_frame_is_refused_before_anything_is_taken_for_it(data, complaint):
    for receive in (received, read):
        with pytest.raises(EncodingError, match=complaint):
            receive(data)


@pytest.mark.parametrize("left", [0, 4, 8, 12, -1])
def test_a_frame_that_ends_early_is_the_end(left):
    data = b"".join(Frame(Kind.INFER, ("x",), (b"blob",)).pieces())[:left]
    assert received(data) is None
    with pytest.raises(asyncio.IncompleteReadError):
        read(data)
