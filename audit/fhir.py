"""Receipts as AuditEvent resources of FHIR R4 (4.0.1), for audit repositories of hospitals.

One way: a resource has no room for what makes a receipt checkable, so it carries the log's entry
whole, as a detail, from which the receipt and its signature come back bit by bit.  Systems of
identifiers are names (`urn:blindproof:...`), not addresses.
"""

from __future__ import annotations

import base64
from datetime import UTC, datetime
from typing import TypeAlias

from audit.receipt import Action, Outcome, Receipt
from audit.signed_receipt import SignedReceipt

Resource: TypeAlias = "dict[str, Resource] | list[Resource] | str | bool"

_DICOM = "http://dicom.nema.org/resources/ontology/DCM"
_TERMINOLOGY = "http://terminology.hl7.org/CodeSystem"
_NANOSECONDS = 1_000_000_000

_ACTION_CODES = {
    Action.PREDICT: "E",
    Action.ENROL_KEY: "C",
    Action.PUBLISH_MODEL: "C",
    Action.WITHDRAW_MODEL: "D",
    Action.READ_MODEL: "R",
    Action.READ_TRAIL: "R",
}
# Success; minor failure, which whoever asked can put right; serious failure.
_OUTCOME_CODES = {Outcome.ANSWERED: "0", Outcome.DENIED: "4", Outcome.FAILED: "8"}


def audit_event(signed: SignedReceipt) -> dict[str, Resource]:
    """The receipt as an AuditEvent, ready for `json.dumps`."""
    receipt = signed.receipt
    event: dict[str, Resource] = {
        "resourceType": "AuditEvent",
        "id": receipt.receipt_id.hex(),
        "type": _coding(_DICOM, "110100", "Application Activity"),
        "subtype": [_coding("urn:blindproof:action", str(receipt.action))],
        "action": _ACTION_CODES[receipt.action],
        "recorded": _instant(receipt.time_ns),
        "outcome": _OUTCOME_CODES[receipt.outcome],
        "purposeOfEvent": [
            {"coding": [_coding(f"{_TERMINOLOGY}/v3-ActReason", str(receipt.purpose))]}
        ],
        "agent": [
            {
                "type": {"coding": [_coding(_DICOM, "110153", "Source Role ID")]},
                "who": _identified(f"urn:blindproof:actor:{receipt.tenant}", receipt.actor),
                "requestor": True,
            },
            {
                "type": {"coding": [_coding(_DICOM, "110152", "Destination Role ID")]},
                "who": _server(signed),
                "requestor": False,
            },
        ],
        "source": {
            "site": receipt.tenant,
            "observer": _server(signed),
            "type": [_coding(f"{_TERMINOLOGY}/security-source-type", "4", "Application Server")],
        },
        "entity": _entities(signed),
    }
    if receipt.reason is not None:
        event["outcomeDesc"] = receipt.reason
    return event


def _entities(signed: SignedReceipt) -> list[Resource]:
    receipt = signed.receipt
    entities: list[Resource] = []
    if receipt.subject is not None:
        entities.append(
            {
                "what": _identified(
                    f"urn:blindproof:pseudonym:{receipt.tenant}", receipt.subject.hex()
                ),
                "type": _coding(f"{_TERMINOLOGY}/audit-entity-type", "1", "Person"),
                "role": _coding(f"{_TERMINOLOGY}/object-role", "1", "Patient"),
            }
        )
    request: dict[str, Resource] = {
        "what": _identified("urn:blindproof:request", receipt.request_id.hex()),
        "type": _coding(f"{_TERMINOLOGY}/audit-entity-type", "2", "System Object"),
        "role": _coding(f"{_TERMINOLOGY}/object-role", "20", "Job"),
        "detail": _details(signed),
    }
    entities.append(request)
    return entities


def _details(signed: SignedReceipt) -> list[Resource]:
    receipt: Receipt = signed.receipt
    named = {
        "time-source": str(receipt.time_source),
        "software-version": receipt.software_version,
    }
    named |= {f"digest-{name}": digest.hex() for name, digest in receipt.digests.named() if digest}
    for name, number in (
        ("soundness-bits", receipt.soundness_bits),
        ("error-bound", receipt.error_bound),
    ):
        if number is not None:
            named[name] = repr(number)
    if receipt.idempotency_digest is not None:
        named["idempotency-digest"] = receipt.idempotency_digest.hex()
    details: list[Resource] = [
        {"type": name, "valueString": value} for name, value in named.items()
    ]
    entry = base64.b64encode(signed.entry()).decode()
    return [*details, {"type": "log-entry", "valueBase64Binary": entry}]


def _coding(system: str, code: str, display: str | None = None) -> dict[str, Resource]:
    coding: dict[str, Resource] = {"system": system, "code": code}
    if display is not None:
        coding["display"] = display
    return coding


def _identified(system: str, value: str) -> dict[str, Resource]:
    """A reference by identifier: nothing else of the resource is known here."""
    return {"identifier": {"system": system, "value": value}}


def _server(signed: SignedReceipt) -> dict[str, Resource]:
    return _identified("urn:blindproof:server-key", signed.server.public.hex())


def _instant(time_ns: int) -> str:
    """An instant of FHIR with all nanoseconds, UTC."""
    seconds, rest = divmod(time_ns, _NANOSECONDS)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
