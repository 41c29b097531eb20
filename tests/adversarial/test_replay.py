"""An honest proof shown for any other request, key, model, input or packing."""

from __future__ import annotations

from dataclasses import replace

import pytest

from protocol.ciphertexts import SeededCiphertexts
from protocol.errors import RequestError, VerificationError
from protocol.inputs import RequestInputs
from tests.adversarial.altered_answers import other_requests
from tests.adversarial.malicious_prover import (
    CLAMPED,
    GLUED,
    MOVED,
    OTHER_POSITIONS,
    forge,
    refusal,
    refused_by,
)
from tests.adversarial.scenario import (
    make_card,
)
from zk_layers.checks import Check
from zk_layers.layers.linear import BatchLinearRelation, SingleLinearRelation, linear_relation
from zk_layers.verify import verify_linear

FIELDS = [
    "request id",
    "nonce",
    "client",
    "server",
    "records",
    "key digest",
    "registration",
    "input digest",
    "plaintext digest",
    "log head",
    "model name",
    "model version",
    "model unit",
    "declared l1 bound",
    "commitment",
    "input scale",
    "flooding",
]


@pytest.mark.rejects("C-05")
@pytest.mark.parametrize("field", FIELDS)
def test_a_proof_replayed_for_another_request(batch, batch_proof, field):
    requests = other_requests(batch)
    assert set(requests) == set(FIELDS)
    other = replace(batch, request=requests[field])
    # other flooding has integers of another width or interval, which are refused even earlier
    expected = OTHER_POSITIONS | ({Check.INTERVAL} if field == "flooding" else set())
    assert refusal(lambda: verify_linear(other.relation, batch_proof)) in expected


@pytest.mark.rejects("C-05")
def test_a_proof_for_the_request_itself(batch, batch_proof):
    assert refusal(lambda: verify_linear(batch.relation, batch_proof)) is None


@pytest.mark.rejects("C-05")
def test_a_proof_replayed_for_other_key_words(batch, batch_proof, single, single_proof):
    other = replace(batch, keys=batch.keys[:, ::-1].copy())
    assert refusal(lambda: verify_linear(other.relation, batch_proof)) in OTHER_POSITIONS
    swapped = replace(single, key=single.key[::-1].copy())
    assert refusal(lambda: verify_linear(swapped.relation, single_proof)) in OTHER_POSITIONS


@pytest.mark.rejects("C-05")
@pytest.mark.parametrize(
    ("strategy", "check"),
    [(GLUED, Check.INTERVAL), (CLAMPED, Check.LINEAR_SUM), (MOVED, Check.LINEAR)],
)
def test_an_answer_to_another_input(batch, batch_proof, strategy, check):
    """Same output words, units of the input swapped: replayed, then proved anew."""
    first = batch.ciphertexts
    swapped = SeededCiphertexts(first.seeds[::-1], first.bodies[::-1].copy(), first.moduli)
    request = replace(batch.request, input_digest=swapped.digest)
    other = replace(batch, request=request, ciphertexts=swapped, inputs=swapped.words)
    assert refusal(lambda: verify_linear(other.relation, batch_proof)) in OTHER_POSITIONS
    assert refused_by(other.relation, forge(other.relation, batch.blocks, strategy)) is check


@pytest.mark.rejects("C-08")
def test_input_words_that_are_not_those_of_the_digest(batch, batch_proof):
    """The constructor takes the digest on trust; words under a wrong one still do not verify."""
    other = replace(batch, inputs=batch.inputs[::-1].copy())
    assert refusal(lambda: verify_linear(other.relation, batch_proof)) is Check.LINEAR


@pytest.mark.rejects("C-08")
def test_the_relation_made_from_what_travelled(batch, batch_proof, single, single_proof):
    built = linear_relation(batch.request, batch.sent, batch.enrolled, batch.outputs)
    assert refusal(lambda: verify_linear(built, batch_proof)) is None
    outputs = (single.mask, single.body)
    built_single = linear_relation(single.request, single.sent, single.enrolled, outputs)
    assert refusal(lambda: verify_linear(built_single, single_proof)) is None


@pytest.mark.rejects("C-08")
@pytest.mark.rejects("C-26")
@pytest.mark.parametrize("part", ["seed", "body", "key", "nonce", "client", "server", "too few"])
def test_a_relation_of_ciphertexts_or_keys_which_the_request_does_not_name(two_outputs, part):
    request, ciphertexts, key = (
        two_outputs.request,
        two_outputs.ciphertexts,
        two_outputs.enrolled,
    )
    if part == "seed":
        ciphertexts = replace(ciphertexts, seeds=ciphertexts.seeds[::-1])
    elif part == "body":
        ciphertexts = replace(ciphertexts, bodies=ciphertexts.bodies[::-1].copy())
    elif part == "key":
        key = replace(key, b=key.b[::-1].copy())
    elif part == "nonce":
        key = replace(key, nonce=bytes(32))
    elif part == "too few":
        key = replace(key, request=replace(key.request, keys=1), b=key.b[:1].copy())
        request = replace(request, key_digest=key.digest)
    else:
        owner = replace(key.request, **{f"{part}_id": "somebody else"})
        key = replace(key, request=owner)
        request = replace(request, key_digest=key.digest)
    inputs = RequestInputs.encrypted_only(ciphertexts)
    with pytest.raises(VerificationError) as refused:
        linear_relation(request, inputs, key, two_outputs.outputs)
    assert refused.value.check == Check.STATEMENT


@pytest.mark.rejects("C-14")
def test_a_relation_of_another_packing_than_the_request(batch, single):
    with pytest.raises(RequestError):
        BatchLinearRelation(single.request, batch.inputs, batch.keys, batch.outputs)
    with pytest.raises(RequestError):
        SingleLinearRelation(batch.request, single.inputs, single.key, single.mask, single.body)


@pytest.mark.rejects("C-14")
def test_a_proof_of_one_packing_shown_for_the_other(batch, batch_proof, single, single_proof):
    assert refusal(lambda: verify_linear(single.relation, batch_proof)) is Check.INTERVAL
    assert refusal(lambda: verify_linear(batch.relation, single_proof)) is Check.SIZE


@pytest.mark.rejects("C-05")
def test_a_card_of_the_same_weights_under_another_opening(batch, batch_proof):
    card = make_card(batch.integers, -batch.opening)
    other = replace(batch, request=replace(batch.request, card=card))
    assert refusal(lambda: verify_linear(other.relation, batch_proof)) in OTHER_POSITIONS
