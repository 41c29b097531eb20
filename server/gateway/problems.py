"""Failures as HTTP knows them: problem details (RFC 9457) with the reason that gRPC gives."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus

import grpc
from fastapi import Response
from pydantic import BaseModel, ConfigDict, Field

from wire import rpc
from wire.rpc import Reason

MEDIA_TYPE = "application/problem+json"

STATUS = {
    Reason.MALFORMED: HTTPStatus.BAD_REQUEST,
    Reason.REQUEST_REFUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.UNAUTHENTICATED: HTTPStatus.UNAUTHORIZED,
    Reason.ROLE_MISSING: HTTPStatus.FORBIDDEN,
    Reason.IDENTITY_REFUSED: HTTPStatus.FORBIDDEN,
    Reason.MODEL_UNKNOWN: HTTPStatus.NOT_FOUND,
    Reason.KEY_UNKNOWN: HTTPStatus.CONFLICT,
    Reason.KEY_UNFIT: HTTPStatus.CONFLICT,
    Reason.ENROLMENT_UNKNOWN: HTTPStatus.CONFLICT,
    Reason.PROOF_REFUSED: HTTPStatus.UNPROCESSABLE_ENTITY,
    Reason.KEYS_FULL: HTTPStatus.INSUFFICIENT_STORAGE,
    Reason.MODELS_FULL: HTTPStatus.INSUFFICIENT_STORAGE,
    Reason.MODELS_FULL: HTTPStatus.INSUFFICIENT_STORAGE,
    Reason.BUSY: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.QUOTA_EXHAUSTED: HTTPStatus.TOO_MANY_REQUESTS,
    Reason.WORKER_LOST: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.TOO_SLOW: HTTPStatus.REQUEST_TIMEOUT,
    Reason.CANCELLED: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.RECEIPT_UNKNOWN: HTTPStatus.NOT_FOUND,
    Reason.WITNESSES_MISSING: HTTPStatus.CONFLICT,
    Reason.AUDIT_UNAVAILABLE: HTTPStatus.SERVICE_UNAVAILABLE,
    Reason.INTERNAL: HTTPStatus.INTERNAL_SERVER_ERROR,
}
"""The status of each reason."""


class ProblemDocument(BaseModel):
    """Why a request failed."""

    model_config = ConfigDict(extra="forbid")

    title: str
    status: int
    detail: str = Field(description="For people; it may change.")
    reason: Reason | None = Field(
        default=None, description="For programs; absent if no procedure was reached."
    )
    receipt: str | None = Field(
        default=None,
        pattern="^[0-9a-f]{32}$",
        description="Id of the receipt that records the refusal.",
    )


@dataclass(frozen=True)
class Problem:
    """Why a request failed.

    Attributes:
        status: of the answer.
        detail: for people.
        reason: for programs; None if no procedure was reached.
        receipt: id of the receipt that records it, in hexadecimal.
        retry_seconds: when it is worth trying again; None if nothing says so.
        headers: further ones of the answer.
    """

    status: int
    detail: str
    reason: Reason | None = None
    receipt: str | None = None
    retry_seconds: float | None = None
    headers: Mapping[str, str] | None = None

    @classmethod
    def of(cls, reason: Reason, detail: str) -> Problem:
        """A problem that no procedure has put into words."""
        return cls(STATUS[reason], detail, reason)

    def response(self) -> Response:
        """The answer that says so."""
        headers = dict(self.headers or {})
        if self.retry_seconds is not None:
            headers["Retry-After"] = str(math.ceil(self.retry_seconds))
        if self.status == HTTPStatus.UNAUTHORIZED:
            headers["WWW-Authenticate"] = "Bearer"
        document = ProblemDocument(
            title=HTTPStatus(self.status).phrase,
            status=self.status,
            detail=self.detail,
            reason=self.reason,
            receipt=self.receipt,
        )
        return Response(
            document.model_dump_json(exclude_none=True), self.status, headers, MEDIA_TYPE
        )


class RefusedError(grpc.aio.AbortError):
    """A call has ended with a problem.  Procedures take it for the abort of a call of gRPC's."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def aborted(detail: str, trailing_metadata: Mapping[str, str | bytes]) -> Problem:
    """The problem of a call that a procedure has ended, from the metadata it ended it with."""
    reason = Reason(str(trailing_metadata.get(rpc.REASON_METADATA, Reason.INTERNAL)))
    receipt = trailing_metadata.get(rpc.RECEIPT_METADATA)
    milliseconds = trailing_metadata.get(rpc.RETRY_METADATA)
    return Problem(
        STATUS[reason],
        detail,
        reason,
        None if receipt is None else str(receipt),
        None if milliseconds is None else int(milliseconds) / 1000,
    )
