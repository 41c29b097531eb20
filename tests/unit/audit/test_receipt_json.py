from __future__ import annotations

import json

import pytest
from hypothesis import given

from audit.errors import ReceiptError
from audit.receipt_json import MAX_JSON_BYTES, receipt_from_json, receipt_to_json
from audit.signed_receipt import sign_receipt
from tests.unit.audit.example_receipts import CLIENT, DENIED, RECEIPT, SERVER
from tests.unit.audit.test_receipt import receipts

SIGNED = sign_receipt(RECEIPT, SERVER).countersigned(CLIENT)
TEXT = receipt_to_json(SIGNED)


@given(receipts())
def test_every_receipt_comes_back_with_the_same_bytes(receipt):
    for signed in (
        sign_receipt(receipt, SERVER),
        sign_receipt(receipt, SERVER).countersigned(CLIENT),
    ):
        text = receipt_to_json(signed)
        assert receipt_from_json(text) == signed
        assert receipt_from_json(text).entry() == signed.entry()
        assert len(text) <= MAX_JSON_BYTES


def test_the_text_says_what_the_receipt_says():
    content = json.loads(TEXT)
    assert content["time_ns"] == "1767225599123456789"
    assert content["digests"]["model"] == bytes(32).hex()
    assert content["digests"]["plaintext"] is None
    assert json.loads(receipt_to_json(sign_receipt(DENIED, SERVER)))["client"] is None


def changed(**members):
    return json.dumps(json.loads(TEXT) | members, indent=2) + "\n"


def without(name):
    content = json.loads(TEXT)
    del content[name]
    return json.dumps(content, indent=2) + "\n"


def test_a_change_of_nothing_is_accepted():
    assert receipt_from_json(changed()) == SIGNED


@pytest.mark.parametrize("name", list(json.loads(TEXT)))
def test_every_member_is_needed(name):
    with pytest.raises(ReceiptError):
        receipt_from_json(without(name))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null\n",
        "[]\n",
        "[" * 10_000,
        TEXT + "\n",
        TEXT[:-1],
        TEXT.replace("  ", " "),
        TEXT.replace('"tenant": "clinic"', '"tenant": "other",\n  "tenant": "clinic"'),
        TEXT.replace("128.5", "1.285e2"),
        TEXT.replace("128.5", "NaN"),
        TEXT.replace("128.5", "1e999"),
        TEXT.replace("128.5", "128"),
        TEXT.replace('"clinic"', r'"clini\u0063"'),
        TEXT.replace('"1767225599123456789"', '"01767225599123456789"'),
        TEXT.replace('"1767225599123456789"', "1767225599123456789"),
        TEXT.replace('"1767225599123456789"', f'"{"9" * 5000}"'),
        TEXT.replace(bytes(range(16)).hex(), bytes(range(16)).hex().upper()),
        changed(format="blindproof signed receipt 2"),
        changed(extra=None),
        changed(tenant=None),
        changed(tenant=["clinic"]),
        changed(purpose="CURIOSITY"),
        changed(digests=None),
        changed(digests=json.loads(TEXT)["digests"] | {"extra": None}),
        changed(digests=json.loads(TEXT)["digests"] | {"model": "zz"}),
        changed(server=None),
        changed(server={}),
        changed(client={}),
        changed(client={"public_key": "", "signature": ""}),
        changed(reason="x" * MAX_JSON_BYTES),
        changed(actor="Jane Doe"),
    ],
)
def test_no_other_text_is_a_receipt(text):
    with pytest.raises(ReceiptError):
        receipt_from_json(text)
