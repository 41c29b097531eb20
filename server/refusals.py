"""Failures as the wire knows them: a status for gRPC, a stable reason for programs."""

from __future__ import annotations

import grpc

from audit.errors import (
    ArchiveUnavailableError,
    LogStateError,
    LogUnavailableError,
    ObjectDamagedError,
    ObjectErasedError,
    ObjectMissingError,
    UnknownEntryError,
    WitnessError,
)
from protocol.errors import (
    BlindproofError,
    EncodingError,
    EnrolmentError,
    VerificationError,
)
from server.storage import StorageError
from wire.rpc import Reason

_STATUS = {
    Reason.MALFORMED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.REQUEST_REFUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.UNAUTHENTICATED: grpc.StatusCode.UNAUTHENTICATED,
    Reason.ROLE_MISSING: grpc.StatusCode.PERMISSION_DENIED,
    Reason.IDENTITY_REFUSED: grpc.StatusCode.PERMISSION_DENIED,
    Reason.MODEL_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Reason.KEY_UNKNOWN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.KEY_UNFIT: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.ENROLMENT_UNKNOWN: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.PROOF_REFUSED: grpc.StatusCode.INVALID_ARGUMENT,
    Reason.KEYS_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.MODELS_FULL: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.BUSY: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.QUOTA_EXHAUSTED: grpc.StatusCode.RESOURCE_EXHAUSTED,
    Reason.WORKER_LOST: grpc.StatusCode.UNAVAILABLE,
    Reason.TOO_SLOW: grpc.StatusCode.DEADLINE_EXCEEDED,
    Reason.CANCELLED: grpc.StatusCode.CANCELLED,
    Reason.RECEIPT_UNKNOWN: grpc.StatusCode.NOT_FOUND,
    Reason.WITNESSES_MISSING: grpc.StatusCode.FAILED_PRECONDITION,
    Reason.AUDIT_UNAVAILABLE: grpc.StatusCode.UNAVAILABLE,
    Reason.INTERNAL: grpc.StatusCode.INTERNAL,
}


_REASONS: tuple[tuple[type[BlindproofError], Reason], ...] = (
    (EncodingError, Reason.MALFORMED),
    (VerificationError, Reason.PROOF_REFUSED),
    (EnrolmentError, Reason.KEY_UNFIT),
    (UnknownEntryError, Reason.RECEIPT_UNKNOWN),
    (WitnessError, Reason.WITNESSES_MISSING),
)
_TRAIL_FAILURES = (
    ArchiveUnavailableError,
    LogStateError,
    LogUnavailableError,
    ObjectDamagedError,
    ObjectErasedError,
    ObjectMissingError,
)


class Refusal(BlindproofError):  # noqa: N818  (an answer, not a fault of this process)
    """A call the server declines, with the reason it gives.

    Attributes:
        reason: for programs.
        retry_seconds: when it is worth trying again; None if nothing says so.
    """

    def __init__(self, reason: Reason, detail: str, retry_seconds: float | None = None) -> None:
        super().__init__(detail)
        self.reason = reason
        self.retry_seconds = retry_seconds

    @property
    def status(self) -> grpc.StatusCode:
        """The gRPC status of the reason."""
        return _STATUS[self.reason]


def require_server(server_id: str, named: str) -> None:
    """Judge which server a client means.  Raises Refusal (identity-refused)."""
    if named != server_id:
        raise Refusal(Reason.IDENTITY_REFUSED, f"this server is '{server_id}'")


def as_refusal(error: Exception) -> Refusal:
    """What the peer is told of an error; of an unexpected one, nothing but that it happened."""
    if isinstance(error, Refusal):
        return error
    if isinstance(error, TimeoutError):
        return Refusal(Reason.TOO_SLOW, "the call took longer than this server allows")
    if isinstance(error, StorageError) or not isinstance(error, BlindproofError):
        return Refusal(Reason.INTERNAL, "internal error")
    if isinstance(error, _TRAIL_FAILURES):
        return Refusal(Reason.AUDIT_UNAVAILABLE, "the audit trail cannot be used now: try later")
    for kind, reason in _REASONS:
        if isinstance(error, kind):
            return Refusal(reason, str(error))
    return Refusal(Reason.REQUEST_REFUSED, str(error))
