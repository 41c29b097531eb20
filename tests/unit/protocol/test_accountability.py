from __future__ import annotations

import hashlib
import re
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from protocol.accountability import (
    MAX_TOKEN,
    Account,
    actor_token,
    graph_digest,
    idempotency_digest,
    is_token,
    parameters_digest,
    proof_digest,
)
from protocol.parameters import Packing
from tests.integration import example_models


@given(st.text(st.characters(codec=None), min_size=1, max_size=300))
def test_every_identity_has_a_token_of_its_own(client_id: str):
    token = actor_token(client_id)
    assert len(token) <= MAX_TOKEN
    assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:/+-]*", token)
    assert is_token(token)
    assert (token == client_id) != token.startswith("sha256:")


def test_no_identity_can_be_chosen_to_look_like_anothers():
    """Or somebody would be recorded as who has that digest."""
    token = actor_token("Ward Seven")
    assert actor_token(token) not in {token, "Ward Seven"}


@pytest.mark.parametrize("identity", ["client-0f", "clinic.example/ward:7", "x" * MAX_TOKEN])
def test_an_identity_that_is_a_token_stays_itself(identity: str):
    assert actor_token(identity) == identity


@pytest.mark.parametrize(
    "identity", ["Ward Seven", "a@b.example", "-x", "x" * (MAX_TOKEN + 1), "ü", "a\n"]
)
def test_any_other_identity_becomes_its_digest(identity: str):
    assert actor_token(identity) == f"sha256:{hashlib.sha256(identity.encode()).hexdigest()}"


def test_an_actor_is_who_is_stated_or_the_client():
    assert Account(actor="ward-7").actor_of("client one") == "ward-7"
    assert Account().actor_of("client") == "client"
    assert Account().actor_of("client one") == actor_token("client one")


def test_only_the_same_client_repeats_a_request():
    digests = {
        idempotency_digest(client, request_id)
        for client in ("one", "other")
        for request_id in (bytes(16), bytes(range(16)))
    }
    assert len(digests) == 4
    assert idempotency_digest("one", bytes(16)) in digests


def test_digests_of_a_card_tell_its_parts_apart():
    card = example_models.bundle(example_models.linear_model()).card
    batch, single = (parameters_digest(card, packing) for packing in Packing)
    assert batch != single
    wider = example_models.bundle(example_models.linear_model(features=4)).card
    assert graph_digest(wider) != graph_digest(card)
    renamed = replace(card, name="renamed")
    assert graph_digest(renamed) == graph_digest(card)
    assert parameters_digest(renamed, Packing.BATCH) == batch
    assert proof_digest(b"a") != proof_digest(b"b")
