"""What a call becomes in the trail: gathered while it is served, and made into one receipt.

Until a call has said who it is, its actor is "unidentified" and its request's id a random one.
"""

from __future__ import annotations

import secrets
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import cache
from importlib import metadata

from audit.errors import ReceiptError
from audit.facts import AnsweredFacts
from audit.receipt import (
    RECEIPT_ID_BYTES,
    REQUEST_ID_BYTES,
    Action,
    Digests,
    Outcome,
    Purpose,
    Receipt,
    TimeSource,
)
from audit.recorder import Recorded
from protocol.accountability import DEFAULT_PURPOSE, actor_token
from protocol.digests import DIGEST_BYTES
from server.keys import EnrolmentSession
from server.refusals import Refusal
from wire.inference import InferenceHeader
from wire.rpc import Reason

UNIDENTIFIED = "unidentified"
_DEFAULT_PURPOSE = Purpose(DEFAULT_PURPOSE)
BROKEN = frozenset(
    {
        Reason.INTERNAL,
        Reason.CANCELLED,
        Reason.TOO_SLOW,
        Reason.WORKER_LOST,
        Reason.AUDIT_UNAVAILABLE,
    }
)
"""What ends a call that had not been refused: its receipt says failed, others' say denied."""


@dataclass
class Event:
    """One call, as far as it is known.

    Attributes:
        action: what is asked for.
        tenant: the server's; a call for another one is refused.
        receipt_id: of its receipt, whatever becomes of it.
        request_id: the client's.
        actor, purpose, subject: as the client states them; the default for an unknown purpose.
        digests: of the model and the key that the client names.
        recording: set once a receipt was given to the recorder which is not one of a refusal.
    """

    action: Action
    tenant: str
    receipt_id: bytes = field(default_factory=lambda: secrets.token_bytes(RECEIPT_ID_BYTES))
    request_id: bytes = field(default_factory=lambda: secrets.token_bytes(REQUEST_ID_BYTES))
    actor: str = UNIDENTIFIED
    purpose: Purpose = _DEFAULT_PURPOSE
    subject: bytes | None = None
    digests: Digests = field(default_factory=Digests)
    recording: Future[Recorded] | None = None

    def asks(self, header: InferenceHeader) -> None:
        """Take over what a request's header says, which nobody has judged yet."""
        account = header.account
        self.request_id = header.request_id
        self.actor = account.actor_of(header.client_id)
        if account.purpose in list(Purpose):
            self.purpose = Purpose(account.purpose)
        self.subject = account.subject
        key = None if header.key_digest == bytes(DIGEST_BYTES) else header.key_digest
        self.digests = Digests(model=header.model_digest, key=key)

    def concerns(self, request_id: bytes, model: bytes) -> None:
        """Take over which model is published or withdrawn."""
        self.request_id = request_id
        self.digests = Digests(model=model)

    def enrols(self, session: EnrolmentSession) -> None:
        """Take over whose key is being enrolled."""
        self.actor = actor_token(session.request.client_id)

    def repeats(self, receipt_id: bytes, recorded: Recorded) -> None:
        """Be a repetition of what was answered: its receipt is this call's."""
        self.receipt_id = receipt_id
        self.recording = Future()
        self.recording.set_result(recorded)

    def begins_anew(self) -> None:
        """Need a receipt of its own for what happens after the one that is recorded."""
        self.receipt_id = secrets.token_bytes(RECEIPT_ID_BYTES)
        self.recording = None

    def require_account(self, header: InferenceHeader) -> None:
        """Judge who asks and why.

        Raises:
            Refusal: another tenant's request (identity-refused), or no known purpose of use
                (request-refused).
        """
        if header.account.tenant != self.tenant:
            detail = f"you may ask on behalf of tenant '{self.tenant}' here, and named another one"
            raise Refusal(Reason.IDENTITY_REFUSED, detail)
        try:
            Purpose.of(header.account.purpose)
        except ReceiptError as error:
            raise Refusal(Reason.REQUEST_REFUSED, str(error)) from error

    def answered(self, facts: AnsweredFacts, time_ns: int, source: TimeSource) -> Receipt:
        """The receipt of an answer."""
        return Receipt(
            receipt_id=self.receipt_id,
            time_ns=time_ns,
            time_source=source,
            tenant=facts.tenant,
            actor=facts.actor,
            purpose=facts.purpose,
            subject=facts.subject,
            action=self.action,
            outcome=Outcome.ANSWERED,
            reason=None,
            digests=facts.digests,
            software_version=software_version(),
            soundness_bits=facts.soundness_bits,
            error_bound=facts.error_bound,
            request_id=facts.request_id,
            idempotency_digest=facts.idempotency_digest,
        )

    def done(self, time_ns: int, source: TimeSource) -> Receipt:
        """The receipt of what was done and is no answer: of a key that is enrolled, for example."""
        return self._receipt(Outcome.ANSWERED, None, time_ns, source)

    def refused(self, reason: Reason, time_ns: int, source: TimeSource) -> Receipt:
        """The receipt of a call that was denied or failed."""
        outcome = Outcome.FAILED if reason in BROKEN else Outcome.DENIED
        return self._receipt(outcome, str(reason), time_ns, source)

    def _receipt(
        self, outcome: Outcome, reason: str | None, time_ns: int, source: TimeSource
    ) -> Receipt:
        return Receipt(
            receipt_id=self.receipt_id,
            time_ns=time_ns,
            time_source=source,
            tenant=self.tenant,
            actor=self.actor,
            purpose=self.purpose,
            subject=self.subject,
            action=self.action,
            outcome=outcome,
            reason=reason,
            digests=self.digests,
            software_version=software_version(),
            soundness_bits=None,
            error_bound=None,
            request_id=self.request_id,
        )


@cache
def software_version() -> str:
    """The version of this software, as receipts say it."""
    try:
        return metadata.version("blindproof")
    except metadata.PackageNotFoundError:  # a source tree that was not installed
        return "0+unknown"
