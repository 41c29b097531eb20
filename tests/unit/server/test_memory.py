from __future__ import annotations

import math

import pytest

from protocol.graph import Dense, Gather, Graph, Mul
from protocol.keys import KeyRequest
from protocol.parameters import Packing
from server.memory import codeword_words, enrolment_bytes, inference_bytes
from tests.adversarial.network_scenario import (
    make_public,
    merged,
    one_output,
    rescaled,
    two_outputs,
    two_squares,
)
from tests.adversarial.plaintext_scenario import mixed_bundle
from tests.adversarial.scenario import make_batch, make_single
from wire.inference import input_words, output_shapes
from zk_layers.ligero.shape import codeword_words as relation_words


def test_a_public_batch_takes_its_inputs_five_times_and_its_outputs_four_times(public_bundle):
    card = public_bundle.card
    parameters = card.profile(Packing.BATCH).parameters
    polynomial = 8 * len(parameters.moduli) * parameters.ring_degree
    assert inference_bytes(card, Packing.BATCH) == (5 * 3 + 4 * 2) * polynomial


def test_a_private_batch_takes_key_pairs_twice_and_codewords_as_well(bundle):
    card = bundle.card
    parameters = card.profile(Packing.BATCH).parameters
    words = (5 * 3 + 4 * 2 + 2 * 2) * len(parameters.moduli) * parameters.ring_degree
    assert inference_bytes(card, Packing.BATCH) == 8 * (words + codeword_words(card, Packing.BATCH))


def test_columns_in_clear_are_counted_as_they_are_sealed():
    """Beside all else three times: joined, sealed, and with the head of a sealed object."""
    card = mixed_bundle().card
    polynomials = 3 * 8192 * len(card.profile(Packing.BATCH).parameters.moduli)
    beside = 8 * 3 * (polynomials + len(card.plaintext_features) * 4096)
    assert len(card.encrypted_inputs) == 3
    outputs = 4 * sum(map(math.prod, output_shapes(card, Packing.BATCH)))
    pairs = 4 * len(card.outputs) * polynomials // 3
    rest = 8 * (
        input_words(card, Packing.BATCH) + outputs + pairs + codeword_words(card, Packing.BATCH)
    )
    assert inference_bytes(card, Packing.BATCH) == rest + beside


def test_what_a_proof_copies_for_a_step_is_counted():
    """Both factors are gathered from one unit: kept once, and laid out four times for the sum."""
    one, four = (
        make_public(Graph(2, (Dense(0, 1), gather, gather, Mul(2, 3), Dense(4, 1)))).request.card
        for gather in (Gather(1, (0,)), Gather(1, (0,) * 4))
    )
    parameters = one.profile(Packing.BATCH).parameters
    ciphertext = 8 * 2 * len(parameters.moduli) * parameters.ring_degree
    grown = inference_bytes(four, Packing.BATCH) - inference_bytes(one, Packing.BATCH)
    assert grown == 2 * (4 - 1) * ciphertext


ANSWERS = {
    "batch": make_batch,
    "batch of three outputs": lambda: make_batch(outputs=3),
    "single": make_single,
    "single of three outputs": lambda: make_single(outputs=3),
    "network": one_output,
    "network of two outputs": two_outputs,
    "merged": merged,
    "rescaled": rescaled,
    "two squarings": two_squares,
}


@pytest.mark.parametrize("name", ANSWERS)
def test_codewords_are_bounded_from_above_and_closely(name):
    relation = ANSWERS[name]().relation
    counted = codeword_words(relation.request.card, relation.request.packing)
    dropped = sum("u" not in layout.spans for layout in relation.layouts())
    exact, length = relation_words(relation), relation.code.message_length
    spare = 10 * len(relation.moduli) + dropped * relation.degree // length
    assert exact <= counted <= exact + spare * relation.code.codeword_length


def test_public_answers_commit_to_nothing(public_bundle):
    for packing in Packing:
        assert codeword_words(public_bundle.card, packing) == 0


def test_forty_keys_of_a_large_ring_take_a_hundred_and_sixty_megabytes(bundle):
    from fhe_layers.moduli import modulus_chain

    request = KeyRequest("client", "server", 16384, modulus_chain(16384, 6)[0], 40)
    assert enrolment_bytes(request) == 5 * 40 * 6 * 16384 * 8
