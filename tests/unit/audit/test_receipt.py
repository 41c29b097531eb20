from __future__ import annotations

import math
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from audit.errors import ReceiptError, SignatureError
from audit.keys import SigningKey
from audit.receipt import (
    MAX_RECEIPT_BYTES,
    Action,
    Digests,
    Outcome,
    Purpose,
    Receipt,
    TimeSource,
)
from audit.signed_receipt import MAX_ENTRY_BYTES, ReceiptSignature, SignedReceipt, sign_receipt
from protocol.accountability import MAX_TOKEN
from protocol.encoding import decode, encode
from tests.unit.audit.example_receipts import CLIENT, DENIED, RECEIPT, SERVER

SIGNED = sign_receipt(RECEIPT, SERVER)
TOKENS = st.from_regex(r"[A-Za-z0-9][A-Za-z0-9._:/+-]{0,127}", fullmatch=True)
HASHES = st.none() | st.binary(min_size=32, max_size=32)
NUMBERS = st.none() | st.floats(0, allow_infinity=False, allow_nan=False).map(abs)


@st.composite
def receipts(draw):
    outcome = draw(st.sampled_from(Outcome))
    return Receipt(
        receipt_id=draw(st.binary(min_size=16, max_size=16)),
        time_ns=draw(st.integers(0, (1 << 63) - 1)),
        time_source=draw(st.sampled_from(TimeSource)),
        tenant=draw(TOKENS),
        actor=draw(TOKENS),
        purpose=draw(st.sampled_from(Purpose)),
        subject=draw(HASHES),
        action=draw(st.sampled_from(Action)),
        outcome=outcome,
        reason=None if outcome is Outcome.ANSWERED else draw(TOKENS),
        digests=Digests(*(draw(HASHES) for _ in fields(Digests))),
        software_version=draw(TOKENS),
        soundness_bits=draw(NUMBERS),
        error_bound=draw(NUMBERS),
        request_id=draw(st.binary(min_size=16, max_size=16)),
        idempotency_digest=draw(HASHES),
    )


@given(receipts())
def test_a_receipt_comes_back_and_fits(receipt):
    assert Receipt.decoded(receipt.encoded()) == receipt
    signed = sign_receipt(receipt, SERVER)
    assert SignedReceipt.from_entry(signed.entry()) == signed
    assert len(receipt.encoded()) <= MAX_RECEIPT_BYTES
    assert len(signed.entry()) <= MAX_ENTRY_BYTES


@pytest.mark.parametrize(
    "change",
    [
        {"receipt_id": bytes(15)},
        {"request_id": bytes(17)},
        {"subject": b"Jane Doe"},
        {"idempotency_digest": bytes(31)},
        {"time_ns": -1},
        {"time_ns": 1 << 63},
        {"tenant": ""},
        {"tenant": "x" * (MAX_TOKEN + 1)},
        {"tenant": "clinic\n"},
        {"actor": "jane.doe@clinic.example"},
        {"actor": "Jane Doe"},
        {"actor": "J\u00e4ne"},
        {"software_version": "-1"},
        {"reason": "something"},
        {"outcome": Outcome.FAILED},
        {"outcome": Outcome.DENIED, "reason": "because she is ill"},
        {"soundness_bits": math.inf},
        {"soundness_bits": math.nan},
        {"soundness_bits": -1.0},
        {"soundness_bits": 128},
        {"error_bound": True},
    ],
)
def test_fields_outside_their_bounds_are_refused(change):
    with pytest.raises(ReceiptError):
        replace(RECEIPT, **change)


@pytest.mark.parametrize("name", [field.name for field in fields(Digests)])
def test_digests_have_their_size(name):
    with pytest.raises(ReceiptError, match=name):
        Digests(**{name: bytes(31)})


def _with(position, value):
    parts = list(RECEIPT.value())
    parts[position] = value
    return encode(tuple(parts))


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode(()),
        encode(None),
        encode(RECEIPT.value()[:-1]),
        encode((*RECEIPT.value(), None)),
        RECEIPT.encoded() + b"n",
        RECEIPT.encoded()[:-1],
        bytes(MAX_RECEIPT_BYTES + 1),
        _with(0, "blindproof receipt 2"),
        _with(2, 1.0),
        _with(3, "sundial"),
        _with(4, b"clinic"),
        _with(6, "CURIOSITY"),
        _with(7, ""),
        _with(8, "delete"),
        _with(9, "maybe"),
        _with(10, ""),
        _with(11, (None,) * 6),
        _with(11, (None,) * 9),
        _with(11, ("",) * 8),
        _with(13, 1),
        _with(14, -1.0),
    ],
)
def test_malformed_receipts_are_refused(data):
    with pytest.raises(ReceiptError):
        Receipt.decoded(data)


def test_both_signatures_verify():
    both = SIGNED.countersigned(CLIENT)
    both.verify_server(SERVER.public)
    both.verify_client(CLIENT.public)
    assert both.entry() == SIGNED.entry()
    assert both.leaf == SIGNED.leaf


@given(receipts())
def test_a_signature_is_of_one_receipt(receipt):
    if receipt == RECEIPT:
        return
    moved = replace(SIGNED.countersigned(CLIENT), receipt=receipt)
    with pytest.raises(SignatureError):
        moved.verify_server(SERVER.public)
    with pytest.raises(SignatureError):
        moved.verify_client(CLIENT.public)


def test_the_client_s_signature_is_not_the_server_s():
    both = SIGNED.countersigned(SERVER)
    assert both.client is not None
    assert both.client.signature != both.server.signature
    swapped = SignedReceipt(RECEIPT, both.client, both.server)
    with pytest.raises(SignatureError):
        swapped.verify_server(SERVER.public)
    with pytest.raises(SignatureError):
        swapped.verify_client(SERVER.public)


def test_the_key_is_the_reader_s_not_the_receipt_s():
    forged = sign_receipt(RECEIPT, SigningKey.generate())
    with pytest.raises(SignatureError, match="expected"):
        forged.verify_server(SERVER.public)


def test_a_missing_client_is_not_a_verified_one():
    with pytest.raises(SignatureError, match="has not signed"):
        SIGNED.verify_client(CLIENT.public)


@pytest.mark.parametrize(("public", "signature"), [(bytes(31), bytes(64)), (bytes(32), bytes(63))])
def test_signatures_have_their_size(public, signature):
    with pytest.raises(ReceiptError):
        ReceiptSignature(public, signature)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        encode(()),
        SIGNED.entry() + b"n",
        RECEIPT.encoded(),
        bytes(MAX_ENTRY_BYTES + 1),
        encode(("another", *decode(SIGNED.entry())[1:])),
        encode((*decode(SIGNED.entry())[:3], bytes(63))),
        encode((*decode(SIGNED.entry())[:3], "")),
        encode((decode(SIGNED.entry())[0], b"", *decode(SIGNED.entry())[2:])),
    ],
)
def test_malformed_entries_are_refused(data):
    with pytest.raises(ReceiptError):
        SignedReceipt.from_entry(data)


def test_a_denial_is_a_receipt_too():
    signed = sign_receipt(DENIED, SERVER)
    signed.verify_server(SERVER.public)
    assert SignedReceipt.from_entry(signed.entry()).receipt.reason == "RequestError"
