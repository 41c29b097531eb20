"""The signatures with which clients confirm that they have verified an answer.

They come after the entry, so they are no part of it, and are kept beside it.  One is enough: the
first stays.
"""

from __future__ import annotations

from dataclasses import replace

from sqlalchemy import select

from audit.database import inserting, translated_errors, writing
from audit.errors import LogStateError, ReceiptError, SignatureError
from audit.log import AuditLog
from audit.receipt import Action, Outcome, Receipt
from audit.schema import countersignatures
from audit.signed_receipt import ReceiptSignature


def countersign(log: AuditLog, receipt_id: bytes, signature: ReceiptSignature) -> None:
    """Keep a client's signature over a receipt of the log, durably.

    Args:
        log: which holds the receipt.
        receipt_id: of the receipt.
        signature: of the client.

    Raises:
        UnknownEntryError: the log has no such receipt.
        SignatureError: not that key's over this receipt, the receipt is not of an answer, or
            another signature is kept already.
        LogStateError: the entry is not what was recorded.
        LogUnavailableError: the database failed; nothing was kept.
    """
    receipt = _require_signed(log, receipt_id, signature)
    if (receipt.action, receipt.outcome) != (Action.PREDICT, Outcome.ANSWERED):
        raise SignatureError("clients sign receipts of answers, which they have verified")
    with translated_errors(), writing(log.engine).begin() as connection:
        inserted = inserting(connection.dialect.name, countersignatures).values(
            receipt_id=receipt_id, public=signature.public, signature=signature.signature
        )
        connection.execute(inserted.on_conflict_do_nothing())
        chosen = select(countersignatures).where(countersignatures.c.receipt_id == receipt_id)
        kept = connection.execute(chosen).one()
        if (kept.public, kept.signature) != (signature.public, signature.signature):
            raise SignatureError(
                f"receipt {receipt_id.hex()} has another countersignature, of {kept.public.hex()}"
            )


def countersignature(log: AuditLog, receipt_id: bytes) -> ReceiptSignature | None:
    """The client's signature over a receipt of the log, verified; None if none is kept.

    Raises:
        UnknownEntryError: the log has no such receipt.
        LogStateError: what is kept is no signature over it.
        LogUnavailableError: the database failed.
    """
    chosen = select(countersignatures).where(countersignatures.c.receipt_id == receipt_id)
    with translated_errors(), log.engine.begin() as connection:
        row = connection.execute(chosen).one_or_none()
    if row is None:
        log.find_receipt(receipt_id)
        return None
    try:
        kept = ReceiptSignature(row.public, row.signature)
        _require_signed(log, receipt_id, kept)
    except (ReceiptError, SignatureError) as error:
        raise LogStateError(
            f"the countersignature kept for {receipt_id.hex()} is not one: {error}"
        ) from error
    return kept


def _require_signed(log: AuditLog, receipt_id: bytes, signature: ReceiptSignature) -> Receipt:
    """The receipt that a signature is over."""
    signed = log.find_receipt(receipt_id).receipt()
    replace(signed, client=signature).verify_client(signature.public)
    return signed.receipt
