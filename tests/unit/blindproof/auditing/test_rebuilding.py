"""Archived messages are judged as the server judged them, before memory is taken for them."""

from __future__ import annotations

from dataclasses import replace

import pytest

from blindproof.auditing import rebuilding
from blindproof.auditing.errors import ExportError
from blindproof.auditing.rebuilding import Model, rebuild, require_response
from protocol.errors import EncodingError, RequestError
from tests.unit.blindproof.auditing.example_trail import answer, answer_with_plaintext
from wire.archived import decode_archived_request, encode_archived_request
from wire.inference import encode_request
from wire.v1 import inference_pb2 as pb


def model_of(given):
    return Model(given.job.bundle.card, given.job.bundle.registration_proof)


@pytest.mark.parametrize(
    "given",
    [answer(1), answer(3, public=True), answer_with_plaintext()],
    ids=["private", "public", "plaintext"],
)
def test_what_was_asked_and_answered_comes_back(given):
    found = rebuild(model_of(given), given.enrolment, given.request_object, given.response_object)
    assert found.evidence.request == given.job.request
    assert found.evidence.proof == given.response.proof
    assert found.facts(given.receipt.soundness_bits).digests == given.receipt.digests


def test_a_public_models_request_names_no_key():
    given = answer(3, public=True)
    request = replace(given.job.request, key_digest=bytes([1]) * 32)
    sent = encode_archived_request(list(encode_request(request, given.job.inputs)))
    with pytest.raises(ExportError, match="names a key"):
        rebuild(model_of(given), None, sent, given.response_object)


def test_inputs_that_would_take_too_much_memory_are_not_read(monkeypatch):
    given = answer(1)
    monkeypatch.setattr(rebuilding, "MAX_INPUT_BYTES", 1000)
    with pytest.raises(ExportError, match="MiB once they are expanded"):
        rebuild(model_of(given), None, given.request_object, given.response_object)


def test_columns_that_would_take_too_much_memory_are_not_made():
    given = answer_with_plaintext()
    first, *others = decode_archived_request(given.request_object)
    header = pb.InferRequest.FromString(first)
    header.header.records = (1 << 32) - 1
    sent = encode_archived_request([header.SerializeToString(), *others])
    with pytest.raises(RequestError, match="records in one request"):
        rebuild(model_of(given), None, sent, given.response_object)


def test_an_answer_alone_is_compared_with_its_receipt():
    given = answer(1)
    receipt, card, response = given.receipt, given.job.bundle.card, given.response_object
    require_response(receipt, card, response)
    for name, complaint in (
        ("parameters", "parameters which the model does not have"),
        ("output", "the outputs are not"),
        ("proof", "the proof is not"),
    ):
        other = replace(receipt, digests=replace(receipt.digests, **{name: bytes(32)}))
        with pytest.raises(ExportError, match=complaint):
            require_response(other, card, response)
    with pytest.raises(EncodingError, match="answers another request"):
        require_response(replace(receipt, request_id=bytes(16)), card, response)
