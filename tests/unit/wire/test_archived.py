"""Archived objects come back as they were kept, and nothing else passes for one."""

from __future__ import annotations

import pytest

from protocol.encoding import encode
from protocol.errors import EncodingError
from protocol.model import MAX_CARD_BYTES
from wire import archived
from wire.archived import (
    MAX_MESSAGES,
    ArchivedModel,
    decode_archived_enrolment,
    decode_archived_model,
    decode_archived_request,
    decode_archived_response,
    encode_archived_enrolment,
    encode_archived_model,
    encode_archived_request,
    encode_archived_response,
)
from wire.models import MAX_REGISTRATION_BYTES
from wire.rpc import MAX_MESSAGE_BYTES
from wire.stored_key import Enrolment

MESSAGES = (b"header", b"", bytes(range(256)) * 40)
CODECS = {
    "request": (encode_archived_request, decode_archived_request),
    "response": (encode_archived_response, decode_archived_response),
}


@pytest.mark.parametrize("name", CODECS)
def test_messages_come_back_in_order_and_in_the_canonical_form(name):
    encoded, decoded = CODECS[name]
    data = encoded(list(MESSAGES))
    assert data == encode((f"blindproof archived {name} 1", MESSAGES))
    assert decoded(data) == MESSAGES


@pytest.mark.parametrize("name", CODECS)
@pytest.mark.parametrize(
    "value",
    [
        ("blindproof archived something 1", MESSAGES),
        ("{form}", ()),
        ("{form}", MESSAGES, b""),
        ("{form}", (b"a", "b")),
        ("{form}", b"a"),
        ("{form}", (bytes(MAX_MESSAGE_BYTES + 1),)),
        ("{form}", (b"",) * (MAX_MESSAGES + 1)),
        b"{form}",
    ],
    ids=["format", "none", "more", "text", "no tuple", "too large", "too many", "bytes"],
)
def test_what_was_not_kept_is_no_messages(name, value):
    form = f"blindproof archived {name} 1"
    if isinstance(value, tuple):
        value = (value[0].format(form=form), *value[1:])
    with pytest.raises(EncodingError):
        CODECS[name][1](encode(value))


def test_a_request_is_no_response():
    with pytest.raises(EncodingError, match="not a 'blindproof archived response 1'"):
        decode_archived_response(encode_archived_request(MESSAGES))


@pytest.mark.parametrize("cut", [0, 1, 40, -1])
def test_cut_bytes_are_no_object(cut):
    with pytest.raises(EncodingError):
        decode_archived_request(encode_archived_request(MESSAGES)[:cut])


def test_a_model_comes_back():
    model = ArchivedModel(b"card", b"proof")
    assert decode_archived_model(encode_archived_model(model)) == model


@pytest.mark.parametrize(
    "model",
    [
        ArchivedModel(bytes(MAX_CARD_BYTES + 1), b""),
        ArchivedModel(b"card", bytes(MAX_REGISTRATION_BYTES + 1)),
    ],
    ids=["card", "proof"],
)
def test_a_model_is_bounded(model):
    with pytest.raises(EncodingError, match="at most"):
        decode_archived_model(encode_archived_model(model))


def test_an_enrolment_comes_back(key):
    kept = decode_archived_enrolment(encode_archived_enrolment(Enrolment(key, b"proof")))
    assert (kept.key.digest, kept.proof) == (key.digest, b"proof")


def test_an_enrolment_is_bounded(key, monkeypatch):
    data = encode_archived_enrolment(Enrolment(key, b"proof"))
    monkeypatch.setattr(archived, "MAX_ENROLMENT_BYTES", 1000)
    with pytest.raises(EncodingError, match="at most 1000"):
        decode_archived_enrolment(data)
