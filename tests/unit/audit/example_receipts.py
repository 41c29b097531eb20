"""Receipts for the tests of the audit trail."""

from __future__ import annotations

from dataclasses import replace
from hashlib import sha256

from audit.keys import SigningKey
from audit.receipt import Action, Digests, Outcome, Purpose, Receipt, TimeSource
from audit.signed_note import NoteKey
from audit.signed_receipt import sign_receipt

SERVER = SigningKey.from_secret(b"s" * 32)
CLIENT = SigningKey.from_secret(b"c" * 32)
ORIGIN = "log.example/clinic"
LOG = SigningKey.from_secret(b"l" * 32)
LOG_KEY = NoteKey(ORIGIN, LOG.public)

RECEIPT = Receipt(
    receipt_id=bytes(range(16)),
    time_ns=1_767_225_599_123_456_789,
    time_source=TimeSource.NTP,
    tenant="clinic",
    actor="ward-7/station-2",
    purpose=Purpose.TREATMENT,
    subject=bytes(range(32)),
    action=Action.PREDICT,
    outcome=Outcome.ANSWERED,
    reason=None,
    digests=Digests(*(bytes([number]) * 32 for number in range(6))),
    software_version="0.1.0+local",
    soundness_bits=128.5,
    error_bound=0.001,
    request_id=bytes(range(16, 32)),
    idempotency_digest=bytes(range(32, 64)),
)
DENIED = replace(
    RECEIPT,
    subject=None,
    outcome=Outcome.DENIED,
    reason="RequestError",
    digests=Digests(),
    soundness_bits=None,
    error_bound=None,
    idempotency_digest=None,
)


def numbered(number):
    """A signed receipt that is like no other number's."""
    name = sha256(str(number).encode()).digest()
    return sign_receipt(
        replace(RECEIPT, receipt_id=name[:16], request_id=name[16:], idempotency_digest=name),
        SERVER,
    )
