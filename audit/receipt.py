"""Receipts: what happened to one request, in fields that name no person.

Every text is a token of bounded length without spaces or '@', so that neither a sentence nor a mail
address fits by accident; subjects are pseudonyms (`audit.pseudonyms`); data are digests, those of
plaintext columns salted (docs/protocol.md).
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import TypeVar

from audit.errors import ReceiptError
from audit.pseudonyms import PSEUDONYM_BYTES
from protocol.accountability import MAX_TOKEN, is_token
from protocol.digests import DIGEST_BYTES
from protocol.encoding import (
    Value,
    decode,
    encode,
    expect_bytes,
    expect_float,
    expect_int,
    expect_text,
    expect_tuple,
)
from protocol.errors import EncodingError

FORMAT = "blindproof receipt 1"
RECEIPT_ID_BYTES = 16
REQUEST_ID_BYTES = 16
MAX_RECEIPT_BYTES = 1 << 12
MAX_TIME_NS = (1 << 63) - 1

_Code = TypeVar("_Code", bound=StrEnum)


class TimeSource(StrEnum):
    """Where the time of a receipt is from."""

    SYSTEM = "system"
    """The clock of the machine, with nothing known of how it is set."""
    NTP = "ntp"
    """A clock that is disciplined by NTP, as the operator states."""
    PTP = "ptp"
    """A clock that is disciplined by PTP, as the operator states."""


class Purpose(StrEnum):
    """Purpose of use, by the codes of HL7 v3 PurposeOfUse."""

    TREATMENT = "TREAT"
    EMERGENCY_TREATMENT = "ETREAT"
    PAYMENT = "HPAYMT"
    OPERATIONS = "HOPERAT"
    RESEARCH = "HRESCH"
    PUBLIC_HEALTH = "PUBHLTH"
    PATIENT_REQUEST = "PATRQT"

    @classmethod
    def of(cls, code: str) -> Purpose:
        """The purpose of a code.

        Raises:
            ReceiptError: there is none; the message lists those there are.
        """
        try:
            return cls(code)
        except ValueError:
            raise ReceiptError(
                f"unknown purpose of use: expected one of {', '.join(cls)}"
            ) from None


class Action(StrEnum):
    """What was asked for."""

    PREDICT = "predict"
    ENROL_KEY = "enrol-key"
    PUBLISH_MODEL = "publish-model"
    WITHDRAW_MODEL = "withdraw-model"
    READ_MODEL = "read-model"
    READ_TRAIL = "read-trail"


class Outcome(StrEnum):
    """What came of it."""

    ANSWERED = "answered"
    DENIED = "denied"
    """Refused for what it was, or by whom: `reason` says why."""
    FAILED = "failed"
    """Broken on the way: `reason` says why."""


@dataclass(frozen=True)
class Digests:
    """What the request was about, 32 bytes each, None for what it did not come to.

    Attributes:
        model: of the model's card.
        parameters: of the encryption parameters.
        graph: of the layers.
        input: of the ciphertexts that were sent.
        output: of the ciphertexts that were answered.
        proof: of the proof.
        plaintext: salted, of the columns that were sent in clear.
        key: of the client's enrolled key.
    """

    model: bytes | None = None
    parameters: bytes | None = None
    graph: bytes | None = None
    input: bytes | None = None
    output: bytes | None = None
    proof: bytes | None = None
    plaintext: bytes | None = None
    key: bytes | None = None

    def __post_init__(self) -> None:
        for name, value in self.named():
            if value is not None and len(value) != DIGEST_BYTES:
                raise ReceiptError(f"the digest of the {name} has {len(value)} bytes, not 32")

    def named(self) -> Iterator[tuple[str, bytes | None]]:
        """Name and digest of each, in the order of the encoding."""
        return ((field.name, getattr(self, field.name)) for field in fields(self))


@dataclass(frozen=True)
class Receipt:
    """One event of the trail.

    Attributes:
        receipt_id: 16 random bytes.
        time_ns: nanoseconds since 1970-01-01 UTC, as POSIX counts.
        time_source: where that time is from.
        tenant: the organisation on whose behalf it was asked.
        actor: the account or device that asked; persons by a pseudonym of the tenant's.
        purpose: why, as the actor states.
        subject: pseudonym of whom the data are about, 32 bytes; None if of many or of nobody.
        action: what was asked for.
        outcome: what came of it.
        reason: the name of the error, if it was denied or failed.
        digests: what it was about.
        software_version: of the server.
        soundness_bits: of the proof, None if there is none.
        error_bound: of released values, as the model's card declares it; None if there is none.
        request_id: 16 bytes, the client's.
        idempotency_digest: 32 bytes that a repetition of the request has too; None if it has none.

    Raises:
        ReceiptError: a field outside its bounds.
    """

    receipt_id: bytes
    time_ns: int
    time_source: TimeSource
    tenant: str
    actor: str
    purpose: Purpose
    subject: bytes | None
    action: Action
    outcome: Outcome
    reason: str | None
    digests: Digests
    software_version: str
    soundness_bits: float | None
    error_bound: float | None
    request_id: bytes
    idempotency_digest: bytes | None = None

    def __post_init__(self) -> None:
        _require_bytes("receipt id", self.receipt_id, RECEIPT_ID_BYTES)
        _require_bytes("request id", self.request_id, REQUEST_ID_BYTES)
        if self.subject is not None:
            _require_bytes("subject", self.subject, PSEUDONYM_BYTES)
        if self.idempotency_digest is not None:
            _require_bytes("idempotency digest", self.idempotency_digest, DIGEST_BYTES)
        if not 0 <= self.time_ns <= MAX_TIME_NS:
            raise ReceiptError(f"time {self.time_ns} ns is before 1970 or after 2262")
        for name in ("tenant", "actor", "software_version"):
            _require_token(name, getattr(self, name))
        if (self.reason is None) != (self.outcome is Outcome.ANSWERED):
            raise ReceiptError("what was denied or failed has a reason, what was answered has none")
        if self.reason is not None:
            _require_token("reason", self.reason)
        for name in ("soundness_bits", "error_bound"):
            number = getattr(self, name)
            # Bytes hold doubles only; an integer would come back as another value.
            if number is not None and not (type(number) is float and 0 <= number < math.inf):
                raise ReceiptError(f"{name} must be a finite float of at least 0, found {number!r}")

    def value(self) -> Value:
        """The canonical value, which is signed and logged."""
        return (
            FORMAT,
            self.receipt_id,
            self.time_ns,
            str(self.time_source),
            self.tenant,
            self.actor,
            str(self.purpose),
            self.subject,
            str(self.action),
            str(self.outcome),
            self.reason,
            tuple(digest for _, digest in self.digests.named()),
            self.software_version,
            self.soundness_bits,
            self.error_bound,
            self.request_id,
            self.idempotency_digest,
        )

    def encoded(self) -> bytes:
        """The canonical bytes."""
        return encode(self.value())

    @classmethod
    def decoded(cls, data: bytes) -> Receipt:
        """Parse what `encoded` wrote.

        Raises:
            ReceiptError: malformed, too large, or a field outside its bounds.
        """
        if len(data) > MAX_RECEIPT_BYTES:
            raise ReceiptError(f"receipt of {len(data)} bytes, at most {MAX_RECEIPT_BYTES}")
        try:
            return cls._from_value(decode(data))
        except EncodingError as error:
            raise ReceiptError(f"malformed receipt: {error}") from error

    @classmethod
    def _from_value(cls, value: Value) -> Receipt:
        parts = expect_tuple(value, "receipt", 17)
        if parts[0] != FORMAT:
            raise ReceiptError(f"not a '{FORMAT}'")
        digests = expect_tuple(parts[11], "digests", len(fields(Digests)))
        return cls(
            receipt_id=expect_bytes(parts[1], "receipt id"),
            time_ns=expect_int(parts[2], "time"),
            time_source=_code(TimeSource, parts[3], "time source"),
            tenant=expect_text(parts[4], "tenant"),
            actor=expect_text(parts[5], "actor"),
            purpose=_code(Purpose, parts[6], "purpose"),
            subject=_bytes_or_none(parts[7], "subject"),
            action=_code(Action, parts[8], "action"),
            outcome=_code(Outcome, parts[9], "outcome"),
            reason=None if parts[10] is None else expect_text(parts[10], "reason"),
            digests=Digests(*(_bytes_or_none(item, "digest") for item in digests)),
            software_version=expect_text(parts[12], "software version"),
            soundness_bits=_float_or_none(parts[13], "soundness bits"),
            error_bound=_float_or_none(parts[14], "error bound"),
            request_id=expect_bytes(parts[15], "request id"),
            idempotency_digest=_bytes_or_none(parts[16], "idempotency digest"),
        )


def _require_bytes(name: str, value: bytes, size: int) -> None:
    if len(value) != size:
        raise ReceiptError(f"{name} has {len(value)} bytes, not {size}")


def _require_token(name: str, value: str) -> None:
    if not is_token(value):
        raise ReceiptError(
            f"{name} must have 1 to {MAX_TOKEN} letters, digits or . _ : / + - "
            "and begin with a letter or a digit"
        )


def _code(kind: type[_Code], value: Value, name: str) -> _Code:
    try:
        return kind(expect_text(value, name))
    except ValueError as error:
        raise ReceiptError(f"unknown {name}") from error


def _bytes_or_none(value: Value, name: str) -> bytes | None:
    return None if value is None else expect_bytes(value, name)


def _float_or_none(value: Value, name: str) -> float | None:
    return None if value is None else expect_float(value, name)
