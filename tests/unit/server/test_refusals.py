from __future__ import annotations

import grpc
import pytest

from audit.errors import (
    ArchiveUnavailableError,
    LogStateError,
    LogUnavailableError,
    ObjectDamagedError,
    ObjectErasedError,
    ObjectMissingError,
    ReceiptError,
    SignatureError,
    UnknownEntryError,
    WitnessError,
)
from protocol.errors import (
    EncodingError,
    EnrolmentError,
    ModelError,
    ParameterError,
    RequestError,
    ShapeError,
    VerificationError,
)
from server.refusals import Refusal, as_refusal
from server.storage import StorageError
from wire.rpc import Reason


@pytest.mark.parametrize(
    ("error", "reason", "status"),
    [
        (EncodingError("x"), Reason.MALFORMED, grpc.StatusCode.INVALID_ARGUMENT),
        (RequestError("x"), Reason.REQUEST_REFUSED, grpc.StatusCode.INVALID_ARGUMENT),
        (ParameterError("x"), Reason.REQUEST_REFUSED, grpc.StatusCode.INVALID_ARGUMENT),
        (ModelError("x"), Reason.REQUEST_REFUSED, grpc.StatusCode.INVALID_ARGUMENT),
        (ShapeError("x"), Reason.REQUEST_REFUSED, grpc.StatusCode.INVALID_ARGUMENT),
        (EnrolmentError("x"), Reason.KEY_UNFIT, grpc.StatusCode.FAILED_PRECONDITION),
        (VerificationError("c", "x"), Reason.PROOF_REFUSED, grpc.StatusCode.INVALID_ARGUMENT),
        (ReceiptError("x"), Reason.REQUEST_REFUSED, grpc.StatusCode.INVALID_ARGUMENT),
        (SignatureError("x"), Reason.REQUEST_REFUSED, grpc.StatusCode.INVALID_ARGUMENT),
        (UnknownEntryError("x"), Reason.RECEIPT_UNKNOWN, grpc.StatusCode.NOT_FOUND),
        (WitnessError("x"), Reason.WITNESSES_MISSING, grpc.StatusCode.FAILED_PRECONDITION),
        (TimeoutError(), Reason.TOO_SLOW, grpc.StatusCode.DEADLINE_EXCEEDED),
        (Refusal(Reason.BUSY, "x"), Reason.BUSY, grpc.StatusCode.RESOURCE_EXHAUSTED),
    ],
)
def test_every_expected_error_has_its_status(error, reason, status):
    refusal = as_refusal(error)
    assert refusal.reason is reason
    assert refusal.status is status


@pytest.mark.parametrize(
    "error",
    [RuntimeError("secret"), ValueError("secret"), OSError("secret"), StorageError("secret")],
)
def test_an_unexpected_error_says_nothing(error):
    refusal = as_refusal(error)
    assert refusal.status is grpc.StatusCode.INTERNAL
    assert "secret" not in str(refusal)


@pytest.mark.parametrize(
    "kind",
    [
        ArchiveUnavailableError,
        LogStateError,
        LogUnavailableError,
        ObjectDamagedError,
        ObjectErasedError,
        ObjectMissingError,
    ],
)
def test_what_fails_in_the_trail_is_the_operators_business(kind):
    refusal = as_refusal(kind("/a/path of the server"))
    assert refusal.reason is Reason.AUDIT_UNAVAILABLE
    assert refusal.status is grpc.StatusCode.UNAVAILABLE
    assert "path" not in str(refusal)


@pytest.mark.parametrize("reason", list(Reason))
def test_every_reason_has_a_status(reason: Reason):
    assert isinstance(Refusal(reason, "").status, grpc.StatusCode)
