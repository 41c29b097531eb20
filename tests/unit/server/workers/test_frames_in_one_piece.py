"""Frames that travel in one piece."""

from __future__ import annotations

import pytest

from protocol.errors import EncodingError
from server.workers.frames import Frame, Kind, decode_frame

FRAME = Frame(Kind.INFER, ("tenant", bytes(32), None), (b"one", b"", b"three"))


def test_a_frame_is_read_as_it_was_written():
    assert decode_frame(FRAME.encoded()) == FRAME


def test_every_shorter_frame_is_refused():
    data = FRAME.encoded()
    for size in range(len(data)):
        with pytest.raises(EncodingError):
            decode_frame(data[:size])


def test_a_longer_frame_is_refused():
    with pytest.raises(EncodingError, match="expected"):
        decode_frame(FRAME.encoded() + b"\0")
