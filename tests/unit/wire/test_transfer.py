from __future__ import annotations

import pytest

from protocol.errors import EncodingError
from wire.archived import MAX_MESSAGES
from wire.inference import decode_continuation, encode_continuation
from wire.transfer import Position, RunningDigest
from wire.v1 import inference_pb2 as pb

MESSAGES = [b"first", b"", b"third" * 100]


def test_a_position_is_the_same_however_it_is_reached():
    running = RunningDigest()
    assert running.position is None
    for count, message in enumerate(MESSAGES, start=1):
        running.add(message)
        assert running.position == Position.after(MESSAGES[:count])
        assert running.position.messages == count


@pytest.mark.parametrize(
    "others", [MESSAGES[:2], [b"firs", b"t", MESSAGES[2]], [b"first", MESSAGES[2], b""]]
)
def test_other_messages_have_another_position(others):
    assert Position.after(others) != Position.after(MESSAGES)
    assert Position.after(others).digest != Position.after(MESSAGES).digest


def test_nothing_has_no_position():
    assert Position.after([]) is None


def test_what_is_written_is_read():
    position = Position.after(MESSAGES)
    assert Position.parsed(str(position)) == position
    assert decode_continuation(encode_continuation(position)) == position


DIGEST = "0" * 64


@pytest.mark.parametrize(
    "text",
    [
        None,
        b"1:" + DIGEST.encode(),
        "",
        DIGEST,
        f"0:{DIGEST}",
        f"-1:{DIGEST}",
        f"+1:{DIGEST}",
        f"01:{DIGEST}",
        f"٣:{DIGEST}",
        f"1:{DIGEST[1:]}",
        f"1:{DIGEST}0",
        f"1:{DIGEST}\n",
        f"1: {DIGEST}",
        f"{MAX_MESSAGES + 1}:{DIGEST}",
        f"{10**30}:{DIGEST}",
        f"1:{'A' * 64}",
    ],
)
def test_what_is_not_understood_is_no_position(text):
    assert Position.parsed(text) is None


def test_other_messages_continue_nothing():
    chunk = pb.InferRequest(ciphertext=pb.CiphertextChunk(index=1))
    assert decode_continuation(chunk.SerializeToString()) is None
    assert decode_continuation(b"") is None
    with pytest.raises(EncodingError):
        decode_continuation(b"\xff")
    short = pb.InferRequest(continuation=pb.Continuation(messages=1, digest=bytes(31)))
    with pytest.raises(EncodingError, match="digest"):
        decode_continuation(short.SerializeToString())
