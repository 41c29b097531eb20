from __future__ import annotations

import numpy as np
import pytest

from protocol.errors import EncodingError
from wire.framing import (
    PROOF_CHUNK_BYTES,
    ProofBuffer,
    parse,
    parse_exactly,
    proof_pieces,
    words_from_bytes,
    words_to_bytes,
)
from wire.v1 import inference_pb2, models_pb2

MODULI = (17, 31)


def test_words_come_back():
    words = np.array([[[16, 0, 3], [30, 1, 2]]], dtype=np.uint64)
    data = words_to_bytes(words)
    assert data[:8] == (16).to_bytes(8, "little")
    assert np.array_equal(words_from_bytes(data, (1, 2, 3), MODULI, "words"), words)


def test_the_limb_axis_can_be_the_last():
    words = np.array([[16, 30], [0, 29]], dtype=np.uint64)
    data = words_to_bytes(words)
    assert np.array_equal(words_from_bytes(data, (2, 2), MODULI, "body", limb_axis=-1), words)


@pytest.mark.parametrize("word", [17, 31, 2**64 - 1])
@pytest.mark.parametrize("limb", [0, 1])
def test_a_word_that_is_not_below_its_modulus_is_refused(word: int, limb: int):
    words = np.zeros((2, 2, 3), dtype=np.uint64)
    words[1, limb, 2] = word
    if word < MODULI[limb]:
        words_from_bytes(words_to_bytes(words), words.shape, MODULI, "words")
        return
    with pytest.raises(EncodingError, match=f"words: limb {limb}"):
        words_from_bytes(words_to_bytes(words), words.shape, MODULI, "words")


@pytest.mark.parametrize("change", [-8, -1, 1, 8])
def test_exactly_the_expected_bytes(change: int):
    with pytest.raises(EncodingError, match="expected 48 bytes"):
        words_from_bytes(bytes(48 + change), (2, 3), MODULI, "words")


def test_received_words_are_writable_copies():
    words = words_from_bytes(bytes(48), (2, 3), MODULI, "words")
    words[0, 0] = 1
    assert words.dtype == np.uint64


def test_bytes_that_are_no_message_are_refused():
    with pytest.raises(EncodingError, match="not a GetModelRequest"):
        parse(models_pb2.GetModelRequest, b"\x0a\xff")


@pytest.mark.parametrize(
    "change",
    [
        lambda data, part: data + b"\x9a\x06\x04name",
        lambda data, part: part + data,
        lambda data, part: data.replace(b"\x12\x08\x08\x03", b"\x12\x09\x08\x83\x00"),
        lambda data, part: inference_pb2.InferRequest(
            ciphertext=inference_pb2.CiphertextChunk.FromString(
                b"\x08\x03\x12\x04seed" + b"\x9a\x06\x04name"
            )
        ).SerializeToString(),
    ],
    ids=["unknown", "replaced", "padded", "unknown inside"],
)
def test_bytes_that_say_nothing_are_refused_where_messages_are_archived(change):
    message = inference_pb2.InferRequest(
        ciphertext=inference_pb2.CiphertextChunk(index=3, seed=b"seed")
    )
    part = inference_pb2.InferRequest(
        plaintext=inference_pb2.PlaintextColumn(index=1, values=b"a name")
    )
    data = message.SerializeToString()
    assert parse_exactly(inference_pb2.InferRequest, data) == message
    changed = change(data, part.SerializeToString())
    assert changed != data
    parse(inference_pb2.InferRequest, changed)
    with pytest.raises(EncodingError):
        parse_exactly(inference_pb2.InferRequest, changed)


@pytest.mark.parametrize("size", [0, 1, PROOF_CHUNK_BYTES, 2 * PROOF_CHUNK_BYTES + 5])
def test_proofs_travel_in_pieces(size: int):
    proof = bytes(index % 251 for index in range(size))
    pieces = list(proof_pieces(proof))
    assert all(0 < len(piece) <= PROOF_CHUNK_BYTES for piece in pieces)
    buffer = ProofBuffer(size, size)
    for piece in pieces:
        buffer.add(piece)
    assert buffer.finish() == proof


def test_a_proof_is_never_longer_than_announced_nor_than_the_limit():
    with pytest.raises(EncodingError, match="at most 10"):
        ProofBuffer(11, 10)
    buffer = ProofBuffer(10, 10)
    buffer.add(bytes(6))
    with pytest.raises(EncodingError, match="6 bytes"):
        buffer.add(bytes(6))
    with pytest.raises(EncodingError, match="10 were announced"):
        buffer.finish()
    with pytest.raises(EncodingError):
        buffer.add(b"")
