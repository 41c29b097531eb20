from __future__ import annotations

from dataclasses import replace

import pytest

from client_sdk.memory import (
    MAX_MEMORY_BYTES,
    MemoryLimitError,
    enrolment_bytes,
    prediction_bytes,
    require_memory,
)
from fhe_layers.moduli import modulus_chain
from protocol.errors import ModelError
from protocol.graph import linear_graph
from protocol.keys import KeyRequest
from protocol.parameters import CkksParameters, Packing
from zk_layers.enrolment import EnrolmentRelation
from zk_layers.ligero.shape import codeword_words


def test_a_batch_takes_inputs_outputs_and_keys(card):
    parameters = card.profile(Packing.BATCH).parameters
    polynomial = 8 * len(parameters.moduli) * parameters.ring_degree
    assert prediction_bytes(card, Packing.BATCH) == (3 * 3 + 4 * 2 + 4) * polynomial


def test_a_single_record_takes_less_than_a_batch(card):
    assert prediction_bytes(card, Packing.SINGLE) < prediction_bytes(card, Packing.BATCH)


def test_enrolment_takes_its_codewords_and_more():
    request = KeyRequest("client", "server", 16384, modulus_chain(16384, 6)[0], 40)
    # 800 MiB is what a process was measured to grow by.
    assert 800 <= enrolment_bytes(request) >> 20 <= 900
    assert enrolment_bytes(request) > 8 * codeword_words(EnrolmentRelation(request))


def test_every_ordinary_card_is_within_the_default(card):
    for profile in card.profiles:
        require_memory(prediction_bytes(card, profile.packing), MAX_MEMORY_BYTES, "a request")


def test_a_card_of_gigabytes_is_not(card):
    moduli, special = modulus_chain(32768, 13)
    (batch,) = (profile for profile in card.profiles if profile.packing is Packing.BATCH)
    wide = replace(
        card,
        features=tuple(replace(card.features[0], name=f"x{k}") for k in range(1000)),
        graph=linear_graph(1000, 1),
        profiles=(replace(batch, parameters=CkksParameters(32768, moduli, special, 40)),),
    )
    with pytest.raises(MemoryLimitError):
        require_memory(prediction_bytes(wide, Packing.BATCH), MAX_MEMORY_BYTES, "a request")


def test_a_refusal_says_what_it_would_take_and_how_to_allow_it():
    require_memory(1 << 30, 1 << 30, "a request")
    needed = (1 << 30) + 1
    with pytest.raises(ModelError, match="a request takes about 1025 MiB") as caught:
        require_memory(needed, 1 << 30, "a request")
    assert isinstance(caught.value, MemoryLimitError)
    assert "allows 1024 MiB" in str(caught.value)
    assert f"max_memory_bytes={needed}" in str(caught.value)
    assert "--max-memory 1025" in str(caught.value)
