from __future__ import annotations

import os
import signal
from dataclasses import replace

import pytest

from client_sdk import AsyncClient, Client
from client_sdk.aio import INPUTS_PER_SINGLE, chosen_packing
from protocol.errors import ModelError, RequestError
from protocol.parameters import Packing
from tests.integration import example_models

CHILD_SECONDS = 20


def test_a_client_from_before_a_fork_is_refused_and_closes_at_once(store):
    """Its thread stayed in the parent: waiting for it would never end."""
    with Client("127.0.0.1:1", model=bytes(32), keys=store) as client:
        child = os.fork()
        if child == 0:  # no assertion of pytest's in here: the child only exits
            signal.alarm(CHILD_SECONDS)
            try:
                client.card()
            except RuntimeError as error:
                client.close()
                os._exit(0 if "fork" in str(error) else 2)
            os._exit(3)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


def test_a_closed_client_is_refused(store):
    client = Client("127.0.0.1:1", model=bytes(32), keys=store)
    client.close()
    client.close()
    with pytest.raises(RuntimeError, match="closed"):
        client.card()


def test_a_client_shows_its_server_and_its_model(store):
    for kind in (Client, AsyncClient):
        client = kind("127.0.0.1:1", model="ab" * 32, keys=store)
        assert repr(client) == f"{kind.__name__}('127.0.0.1:1', model={'ab' * 8}…)"
        if isinstance(client, Client):
            client.close()


def test_few_records_of_many_inputs_go_one_by_one(card):
    assert chosen_packing(card, "auto", 1) is Packing.SINGLE
    assert chosen_packing(card, "auto", 2) is Packing.BATCH
    wide = example_models.bundle(example_models.linear_model(features=4 * INPUTS_PER_SINGLE)).card
    assert chosen_packing(wide, "auto", 4) is Packing.SINGLE
    assert chosen_packing(wide, "auto", 5) is Packing.BATCH
    assert chosen_packing(wide, "batch", 1) is Packing.BATCH
    only = replace(wide, profiles=(wide.profile(Packing.BATCH),))
    assert chosen_packing(only, "auto", 1) is Packing.BATCH
    with pytest.raises(ModelError, match="does not offer"):
        chosen_packing(only, "single", 1)
    with pytest.raises(RequestError, match="expected 'auto'"):
        chosen_packing(wide, "double", 1)
