"""Responses of networks: t polynomials an output, over the limbs that rescaling leaves."""

from __future__ import annotations

import numpy as np
import pytest

from protocol.errors import EncodingError
from protocol.graph import Dense, Graph, square
from protocol.model import ModelCard
from protocol.parameters import Packing
from tests.integration.example_models import network_bundle, network_profile
from wire.inference import (
    BatchOutputs,
    Response,
    ResponseAssembler,
    ServerTimings,
    encode_response,
    input_ciphertexts,
    output_shapes,
)
from wire.rpc import MAX_MESSAGE_BYTES
from wire.v1 import inference_pb2 as pb

IDENTITY = bytes(range(16))
SHAPE = (2, 5, 3, 16384)


@pytest.fixture(scope="module")
def card() -> ModelCard:
    """Two outputs of five polynomials; the last two of five limbs are dropped."""
    graph = Graph(3, (Dense(0, 2), square(1), Dense(2, 2), square(3), Dense(4, 2)))
    profile = network_profile(5, 44, 132, dropped=2, degree=16384)
    return network_bundle(graph, profile).card


@pytest.fixture(scope="module")
def response(card: ModelCard) -> Response:
    moduli = card.profile(Packing.BATCH).kept_moduli
    words = np.random.default_rng(4).integers(0, min(moduli), SHAPE, dtype=np.uint64)
    return Response(BatchOutputs(words), b"proof", ServerTimings())


def receive(card: ModelCard, messages: list[bytes]) -> Response:
    assembler = ResponseAssembler(card, Packing.BATCH, IDENTITY)
    for message in messages:
        assembler.add(message)
    return assembler.finish()


def test_shapes_follow_the_card(card):
    assert card.output_shape(Packing.BATCH) == SHAPE
    assert output_shapes(card, Packing.BATCH) == [(3, 16384)] * 10
    assert input_ciphertexts(card, Packing.BATCH) == 3
    assembler = ResponseAssembler(card, Packing.BATCH, IDENTITY)
    assert assembler.output_bytes == 8 * np.prod(SHAPE)


def test_a_response_comes_back_polynomial_by_polynomial(card, response):
    messages = list(encode_response(IDENTITY, response))
    received = receive(card, messages)
    assert np.array_equal(received.outputs.words, response.outputs.words)
    third = pb.InferResponse.FromString(messages[1 + 5 + 2]).output
    assert third.index == 7
    assert third.words == response.outputs.words[1, 2].astype("<u8").tobytes()


@pytest.mark.parametrize("limb", [0, 1, 2])
def test_words_are_judged_by_the_kept_primes(card, response, limb: int):
    words = response.outputs.words.copy()
    words[1, 4, limb, -1] = card.profile(Packing.BATCH).kept_moduli[limb]
    messages = encode_response(IDENTITY, Response(BatchOutputs(words), b"", ServerTimings()))
    with pytest.raises(EncodingError, match=f"chunk 9: limb {limb}"):
        receive(card, list(messages))


@pytest.mark.parametrize(
    "change",
    [
        lambda words: words[:, :4],
        lambda words: np.concatenate([words, words[:, :1]], axis=1),
        lambda words: words[:, :, :1],
        lambda words: np.concatenate([words, words[:, :, :1]], axis=2),
        lambda words: words[:1],
        lambda words: words[..., :8192],
    ],
)
def test_outputs_of_another_shape_are_refused(card, response, change):
    changed = np.ascontiguousarray(change(response.outputs.words))
    messages = encode_response(IDENTITY, Response(BatchOutputs(changed), b"", ServerTimings()))
    with pytest.raises(EncodingError):
        receive(card, list(messages))


def test_a_ciphertext_of_the_largest_supported_ring_fits_one_message():
    from fhe_layers.moduli import ntt_primes
    from protocol.parameters import MAX_MODULUS_BITS, MIN_PRIME_BITS, MIN_SPECIAL_BITS

    for degree, bits in MAX_MODULUS_BITS.items():
        limbs = (bits - MIN_SPECIAL_BITS) // (MIN_PRIME_BITS - 1)
        assert limbs >= 1
        assert len(ntt_primes(degree, MIN_PRIME_BITS, limbs)) == limbs
        assert 8 * limbs * degree + 1024 < MAX_MESSAGE_BYTES
