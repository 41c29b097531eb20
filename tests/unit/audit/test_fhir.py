"""AuditEvents against the resource's definition, FHIR 4.0.1."""

from __future__ import annotations

import base64
import json
import re

import pytest
from hypothesis import given

from audit.fhir import audit_event
from audit.receipt import Action, Outcome, Purpose
from audit.signed_receipt import SignedReceipt, sign_receipt
from tests.unit.audit.example_receipts import DENIED, RECEIPT, SERVER
from tests.unit.audit.test_receipt import receipts

# Every element of the resource and of the types it uses here: least and most, and its type.
CODING = {"system": (0, 1, "uri"), "code": (0, 1, "code"), "display": (0, 1, "string")}
CONCEPT = {"coding": (0, None, CODING), "text": (0, 1, "string")}
IDENTIFIER = {"system": (0, 1, "uri"), "value": (0, 1, "string")}
REFERENCE = {"reference": (0, 1, "string"), "identifier": (0, 1, IDENTIFIER)}
DETAIL = {
    "type": (1, 1, "string"),
    "valueString": (0, 1, "string"),
    "valueBase64Binary": (0, 1, "base64Binary"),
}
AUDIT_EVENT = {
    "resourceType": (1, 1, "code"),
    "id": (0, 1, "id"),
    "type": (1, 1, CODING),
    "subtype": (0, None, CODING),
    "action": (0, 1, "code"),
    "recorded": (1, 1, "instant"),
    "outcome": (0, 1, "code"),
    "outcomeDesc": (0, 1, "string"),
    "purposeOfEvent": (0, None, CONCEPT),
    "agent": (
        1,
        None,
        {
            "type": (0, 1, CONCEPT),
            "role": (0, None, CONCEPT),
            "who": (0, 1, REFERENCE),
            "altId": (0, 1, "string"),
            "name": (0, 1, "string"),
            "requestor": (1, 1, "boolean"),
        },
    ),
    "source": (
        1,
        1,
        {
            "site": (0, 1, "string"),
            "observer": (1, 1, REFERENCE),
            "type": (0, None, CODING),
        },
    ),
    "entity": (
        0,
        None,
        {
            "what": (0, 1, REFERENCE),
            "type": (0, 1, CODING),
            "role": (0, 1, CODING),
            "detail": (0, None, DETAIL),
        },
    ),
}
# Of the primitive types, as the specification has them.
PATTERNS = {
    "uri": r"\S+",
    "code": r"[^\s]+(\s[^\s]+)*",
    "string": r"[ \r\n\t\S]+",
    "id": r"[A-Za-z0-9\-\.]{1,64}",
    "base64Binary": r"[0-9A-Za-z+/]+=*",
    "instant": (
        r"[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[1-2][0-9]|3[0-1])T([01][0-9]|2[0-3]):[0-5][0-9]:"
        r"([0-5][0-9]|60)(\.[0-9]+)?(Z|(\+|-)((0[0-9]|1[0-3]):[0-5][0-9]|14:00))"
    ),
}


def require(value, kind, path):
    if isinstance(kind, dict):
        assert isinstance(value, dict), path
        assert value, path
        assert set(value) <= set(kind), path
        for name, (least, most, inner) in kind.items():
            found = value.get(name, [])
            items = found if isinstance(found, list) else [found]
            assert isinstance(found, list) == (most is None or name not in value), f"{path}.{name}"
            assert least <= len(items) <= (len(items) if most is None else most), f"{path}.{name}"
            assert name not in value or items, f"{path}.{name} is an empty list"
            for item in items:
                require(item, inner, f"{path}.{name}")
    elif kind == "boolean":
        assert isinstance(value, bool), path
    else:
        assert isinstance(value, str), path
        assert re.fullmatch(PATTERNS[kind], value), path


def require_valid(event):
    require(event, AUDIT_EVENT, "AuditEvent")
    assert event["resourceType"] == "AuditEvent"
    assert event["action"] in set("CRUDE")
    assert event["outcome"] in {"0", "4", "8", "12"}
    assert [agent["requestor"] for agent in event["agent"]].count(True) == 1
    for entity in event["entity"]:
        for detail in entity.get("detail", []):
            assert ("valueString" in detail) != ("valueBase64Binary" in detail)


@given(receipts())
def test_every_receipt_is_a_valid_event_that_holds_it(receipt):
    signed = sign_receipt(receipt, SERVER)
    event = json.loads(json.dumps(audit_event(signed)))
    require_valid(event)
    (entry,) = [
        detail["valueBase64Binary"]
        for entity in event["entity"]
        for detail in entity.get("detail", [])
        if detail["type"] == "log-entry"
    ]
    assert SignedReceipt.from_entry(base64.b64decode(entry)) == signed


def test_the_event_says_what_the_receipt_says():
    event = audit_event(sign_receipt(RECEIPT, SERVER))
    assert event["recorded"] == "2025-12-31T23:59:59.123456789Z"
    assert (event["action"], event["outcome"]) == ("E", "0")
    assert event["purposeOfEvent"][0]["coding"][0]["code"] == "TREAT"
    assert event["agent"][0]["who"]["identifier"]["value"] == "ward-7/station-2"
    patient, request = event["entity"]
    assert patient["what"]["identifier"]["value"] == bytes(range(32)).hex()
    details = {detail["type"]: detail.get("valueString") for detail in request["detail"]}
    assert details["digest-model"] == bytes(32).hex()
    assert "digest-plaintext" not in details
    assert details["soundness-bits"] == "128.5"


def test_a_denial_names_its_reason_and_nobody():
    event = audit_event(sign_receipt(DENIED, SERVER))
    assert (event["outcome"], event["outcomeDesc"]) == ("4", "RequestError")
    assert len(event["entity"]) == 1


@pytest.mark.parametrize("code", [*Action, *Outcome, *Purpose])
def test_every_code_has_one_in_fhir(code):
    name = type(code).__name__.lower()
    change = {name: code}
    if name == "outcome" and code is not Outcome.ANSWERED:
        change["reason"] = "RequestError"
    require_valid(audit_event(sign_receipt(RECEIPT.__class__(**(vars(RECEIPT) | change)), SERVER)))


@pytest.mark.parametrize(
    "damage",
    [
        lambda event: event.pop("type"),
        lambda event: event.pop("recorded"),
        lambda event: event.pop("source"),
        lambda event: event.update(agent=[]),
        lambda event: event["agent"][0].pop("requestor"),
        lambda event: event["source"].pop("observer"),
        lambda event: event.update(recorded="2025-12-31"),
        lambda event: event.update(type=[event["type"]]),
        lambda event: event.update(unknown="x"),
    ],
)
def test_the_judge_of_these_tests_refuses(damage):
    event = audit_event(sign_receipt(RECEIPT, SERVER))
    damage(event)
    with pytest.raises((AssertionError, KeyError)):
        require_valid(event)
