from __future__ import annotations

import pytest

from protocol.keys import KeyRequest
from protocol.parameters import Packing
from server.memory import MemoryBudget, enrolment_bytes, inference_bytes
from server.refusals import Refusal
from wire.rpc import Reason


def test_what_is_held_is_bounded_and_given_back():
    budget = MemoryBudget(100)
    with budget.reserve(60), budget.reserve(40):
        with pytest.raises(Refusal) as caught, budget.reserve(1):
            pass
        assert caught.value.reason is Reason.BUSY
    with pytest.raises(KeyError), budget.reserve(100):
        raise KeyError
    with budget.reserve(100):
        pass


def test_a_call_that_can_never_fit_is_not_told_to_come_back():
    with pytest.raises(Refusal, match="MiB") as caught, MemoryBudget(100).reserve(101):
        pass
    assert caught.value.reason is Reason.REQUEST_REFUSED


def test_a_batch_takes_its_inputs_three_times_and_its_outputs(bundle):
    card = bundle.card
    parameters = card.profile(Packing.BATCH).parameters
    polynomial = 8 * len(parameters.moduli) * parameters.ring_degree
    assert inference_bytes(card, Packing.BATCH) == (3 * 3 + 3 * 2) * polynomial


def test_forty_keys_of_a_large_ring_take_sixty_megabytes(bundle):
    from fhe_layers.moduli import modulus_chain

    request = KeyRequest("client", "server", 16384, modulus_chain(16384, 6)[0], 40)
    assert enrolment_bytes(request) == 2 * 40 * 6 * 16384 * 8
