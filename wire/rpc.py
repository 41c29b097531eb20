"""The remote procedures by name, and the stable reasons for their failures.

Requests and responses cross gRPC as plain bytes and are parsed by the codecs, so that malformed
bytes are this project's typed failure rather than an exception inside gRPC.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

REASON_METADATA = "blindproof-reason"
"""Trailing metadata key that carries a `Reason`."""

RECEIPT_METADATA = "blindproof-receipt"
"""Trailing metadata key of a refused call: the hexadecimal id of the receipt that records it."""

RETRY_METADATA = "blindproof-retry-after-ms"
"""Trailing metadata key of a refused call: milliseconds after which it may be tried again.  The
same advice is in `grpc-status-details-bin`, as google.rpc.RetryInfo."""

STATUS_DETAILS_METADATA = "grpc-status-details-bin"

ADMITTED_METADATA = "blindproof-admitted"
"""Initial metadata key, sent as soon as a streamed call's header was accepted.  Clients wait for it
before they send what is large."""

ADMITTED = ((ADMITTED_METADATA, "1"),)

HELD_METADATA = "blindproof-held"
"""Initial metadata key: the position (`wire.transfer`) up to which the server still has an upload
of the same header that broke."""

RECEIVED_METADATA = "blindproof-received"
"""Invocation metadata key: the position up to which a client has an answer that broke."""

CONTINUES_METADATA = "blindproof-continues"
"""Initial metadata key: that position, if the answer goes on from there."""

MAX_MESSAGE_BYTES = 4 << 20
"""Largest message either side accepts: a ciphertext's L * N words fit for every supported ring."""


@dataclass(frozen=True)
class Method:
    """One remote procedure."""

    service: str
    name: str

    @property
    def path(self) -> str:
        """The path gRPC routes by."""
        return f"/{self.service}/{self.name}"


MODEL_SERVICE = "blindproof.v1.ModelService"
KEY_SERVICE = "blindproof.v1.KeyService"
INFERENCE_SERVICE = "blindproof.v1.InferenceService"
AUDIT_SERVICE = "blindproof.v1.AuditService"

LIST_MODELS = Method(MODEL_SERVICE, "ListModels")
GET_MODEL = Method(MODEL_SERVICE, "GetModel")
PUBLISH_MODEL = Method(MODEL_SERVICE, "PublishModel")
WITHDRAW_MODEL = Method(MODEL_SERVICE, "WithdrawModel")
BEGIN_ENROLMENT = Method(KEY_SERVICE, "BeginEnrolment")
COMPLETE_ENROLMENT = Method(KEY_SERVICE, "CompleteEnrolment")
INFER = Method(INFERENCE_SERVICE, "Infer")
GET_LOG = Method(AUDIT_SERVICE, "GetLog")
GET_CHECKPOINT = Method(AUDIT_SERVICE, "GetCheckpoint")
GET_RECEIPT = Method(AUDIT_SERVICE, "GetReceipt")
GET_INCLUSION = Method(AUDIT_SERVICE, "GetInclusion")
GET_CONSISTENCY = Method(AUDIT_SERVICE, "GetConsistency")
READ_ENTRIES = Method(AUDIT_SERVICE, "ReadEntries")
COUNTERSIGN = Method(AUDIT_SERVICE, "Countersign")

METHODS = (
    LIST_MODELS,
    GET_MODEL,
    PUBLISH_MODEL,
    WITHDRAW_MODEL,
    BEGIN_ENROLMENT,
    COMPLETE_ENROLMENT,
    INFER,
    GET_LOG,
    GET_CHECKPOINT,
    GET_RECEIPT,
    GET_INCLUSION,
    GET_CONSISTENCY,
    READ_ENTRIES,
    COUNTERSIGN,
)
"""All of them."""


class Reason(StrEnum):
    """Why a call failed: stable, for programs.  Details beside it are for people."""

    MALFORMED = "malformed"
    REQUEST_REFUSED = "request-refused"
    UNAUTHENTICATED = "unauthenticated"
    ROLE_MISSING = "role-missing"
    IDENTITY_REFUSED = "identity-refused"
    MODEL_UNKNOWN = "model-unknown"
    KEY_UNKNOWN = "key-unknown"
    KEY_UNFIT = "key-unfit"
    ENROLMENT_UNKNOWN = "enrolment-unknown"
    PROOF_REFUSED = "proof-refused"
    KEYS_FULL = "keys-full"
    MODELS_FULL = "models-full"
    BUSY = "busy"
    QUOTA_EXHAUSTED = "quota-exhausted"
    WORKER_LOST = "worker-lost"
    TOO_SLOW = "too-slow"
    CANCELLED = "cancelled"
    RECEIPT_UNKNOWN = "receipt-unknown"
    WITNESSES_MISSING = "witnesses-missing"
    AUDIT_UNAVAILABLE = "audit-unavailable"
    INTERNAL = "internal"
