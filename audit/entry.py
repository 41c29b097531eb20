"""Entries of the log, and their rows."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from sqlalchemy import Row

from audit.errors import LogStateError
from audit.merkle import leaf_hash
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
    return {
        "position": index,
        "leaf": leaf_hash(data),
        "data": data,
        "receipt_id": signed.receipt.receipt_id,
        "tenant": signed.receipt.tenant,
        "idempotency_digest": signed.receipt.idempotency_digest,
    }


def checked_entry(row: Row[Any]) -> Entry:
    """The entry in a row.

    Raises:
        LogStateError: its bytes have another hash than its leaf.
    """
    if leaf_hash(row.data) != row.leaf:
        raise LogStateError(f"entry {row.position} is not what was recorded")
    return Entry(row.position, row.data)
