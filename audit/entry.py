"""Entries of the log, and their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from audit.errors import LogStateError
from audit.merkle import leaf_hash
from audit.receipt import Receipt
from audit.signed_receipt import SignedReceipt


@dataclass(frozen=True)
class Entry:
    """One entry as it is stored.

    Attributes:
        index: its place in the log, from 0.
        data: the bytes whose hash is the leaf.
    """

    index: int
    data: bytes

    def receipt(self) -> SignedReceipt:
        """The receipt in it.

        Raises:
            ReceiptError: malformed, which an entry that was appended here is not.
        """
        return SignedReceipt.from_entry(self.data)


def entry_row(index: int, signed: SignedReceipt) -> dict[str, Any]:
    """The row of `audit.schema.entries` for a receipt."""
    data = signed.entry()
    return {"position": index, "leaf": leaf_hash(data), "data": data, **filed(signed.receipt)}


def filed(receipt: Receipt) -> dict[str, Any]:
    """The columns by which a receipt is found: they repeat what its bytes say."""
    return {
        "receipt_id": receipt.receipt_id,
        "tenant": receipt.tenant,
        "idempotency_digest": receipt.idempotency_digest,
        "time_ns": receipt.time_ns,
        "actor": receipt.actor,
        "purpose": str(receipt.purpose),
        "subject": receipt.subject,
        "action": str(receipt.action),
        "outcome": str(receipt.outcome),
        "reason": receipt.reason,
        "model": receipt.digests.model,
    }


def checked_entry(row: Row[*tuple[Any, ...]]) -> Entry:
    """The entry in a row.

    Raises:
        LogStateError: its bytes have another hash than its leaf.
    """
    if leaf_hash(row.data) != row.leaf:
        raise LogStateError(f"entry {row.position} is not what was recorded")
    return Entry(row.position, row.data)


def require_filed(index: int, receipt: Receipt, row: Row[*tuple[Any, ...]]) -> None:
    """Refuse a row whose columns say something else than the receipt in it.

    Raises:
        LogStateError: naming the column.
    """
    for name, value in filed(receipt).items():
        if getattr(row, name) != value:
            raise LogStateError(f"entry {index} is filed under another {name}")
