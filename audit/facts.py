"""What the receipt of an answered request must say: the server writes it, the others compare.

Server, client and auditor each compute these facts from the request and the answer they have, so
that a receipt about another request, model, answer or proof is refused.
"""

from __future__ import annotations

from dataclasses import dataclass, fields

from audit.errors import ReceiptMismatchError
from audit.receipt import Action, Digests, Outcome, Purpose, Receipt
from protocol.accountability import (
    Account,
    graph_digest,
    idempotency_digest,
    parameters_digest,
    proof_digest,
)
from protocol.parameters import Mode
from protocol.request import Request

SOUNDNESS_TOLERANCE = 2.0**-20
"""Bits by which two computations of one proof's soundness may differ: sums and logarithms are not
the same to the last digit with every version of Python and of its mathematics library."""


@dataclass(frozen=True)
class AnsweredFacts:
    """The part of a receipt that follows from a request and its answer.

    Attributes:
        tenant, actor, purpose, subject: as the client stated them.
        request_id: the client's.
        idempotency_digest: see `protocol.accountability`.
        digests: of all that was asked and answered.
        soundness_bits: of the proof; None for an answer without one, which the client checks by
            itself.
        error_bound: of released values, in units of the output.
    """

    tenant: str
    actor: str
    purpose: Purpose
    subject: bytes | None
    request_id: bytes
    idempotency_digest: bytes
    digests: Digests
    soundness_bits: float | None
    error_bound: float

    def require_in(self, receipt: Receipt) -> None:
        """Refuse a receipt that says something else.

        Raises:
            ReceiptMismatchError: naming the field.
        """
        if (receipt.action, receipt.outcome) != (Action.PREDICT, Outcome.ANSWERED):
            raise ReceiptMismatchError(
                f"a receipt of '{receipt.action}', {receipt.outcome}: not of an answer"
            )
        for field in fields(self):
            if field.name not in {"digests", "soundness_bits"}:
                _require_same(field.name, getattr(self, field.name), getattr(receipt, field.name))
        if not same_soundness(self.soundness_bits, receipt.soundness_bits):
            _require_same("soundness_bits", self.soundness_bits, receipt.soundness_bits)
        for (name, mine), (_, theirs) in zip(
            self.digests.named(), receipt.digests.named(), strict=True
        ):
            _require_same(f"digest of the {name}", mine, theirs)


def answered_facts(
    request: Request,
    output_digest: bytes,
    proof: bytes,
    soundness_bits: float | None,
    account: Account,
) -> AnsweredFacts:
    """The facts of one request.

    Args:
        request: who asked what.
        output_digest: of the output words, `wire.inference.outputs_digest`.
        proof: the proof, empty if there is none.
        soundness_bits: of the proof.
        account: who asked and why.

    Raises:
        ReceiptError: the account is no account of a receipt.
    """
    return AnsweredFacts(
        tenant=account.tenant,
        actor=account.actor_of(request.client_id),
        purpose=Purpose.of(account.purpose),
        subject=account.subject,
        request_id=request.request_id,
        idempotency_digest=idempotency_digest(request.client_id, request.request_id),
        digests=answered_digests(request, output_digest, proof),
        soundness_bits=soundness_bits if proof else None,
        error_bound=request.card.bounds(request.packing).released_error * request.card.unit,
    )


def answered_digests(request: Request, output_digest: bytes, proof: bytes) -> Digests:
    """Digests of a request and its answer, from the request and the answer alone."""
    card = request.card
    return Digests(
        model=card.digest,
        parameters=parameters_digest(card, request.packing),
        graph=graph_digest(card),
        input=request.input_digest,
        output=output_digest,
        proof=proof_digest(proof) if proof else None,
        plaintext=request.plaintext_digest if card.plaintext_features else None,
        key=request.key_digest if card.mode is Mode.PRIVATE else None,
    )


def same_soundness(mine: float | None, theirs: float | None) -> bool:
    """Whether two parties mean the same proof's soundness; None for no proof."""
    if mine is None or theirs is None:
        return mine is theirs
    return abs(mine - theirs) <= SOUNDNESS_TOLERANCE


def _require_same(name: str, mine: object, theirs: object) -> None:
    if mine != theirs:
        raise ReceiptMismatchError(
            f"the receipt says another {name.replace('_', ' ')}: expected {_shown(mine)}, "
            f"found {_shown(theirs)}"
        )


def _shown(value: object) -> str:
    return value.hex() if isinstance(value, bytes) else repr(value)
