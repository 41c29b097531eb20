"""A receipt with all that proves it: what a client keeps, and what anyone can check offline."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass, replace
from typing import Any

from audit.checkpoint import Checkpoint, verify_checkpoint
from audit.errors import NoteError, ReceiptError
from audit.merkle import verify_inclusion
from audit.receipt_json import MAX_JSON_BYTES, receipt_from_json, receipt_to_json
from audit.signed_note import MAX_NOTE_BYTES, NoteKey, SignedNote, decode_base64
from audit.signed_receipt import SignedReceipt

FORMAT = "blindproof proven receipt 1"
MAX_FILE_BYTES = 2 * (MAX_JSON_BYTES + MAX_NOTE_BYTES)
MAX_HASHES = 64


@dataclass(frozen=True)
class ProvenReceipt:
    """A receipt, its place in a log, and the log at a size that has it.  Not verified by itself.

    Attributes:
        signed: the receipt with the server's signature, and the client's if it has signed.
        index: of its entry.
        inclusion: hashes to the checkpoint's root, 32 bytes each.
        checkpoint: a signed note.
        log_key: the key the log says it has; whoever verifies compares it with one from elsewhere.
    """

    signed: SignedReceipt
    index: int
    inclusion: tuple[bytes, ...]
    checkpoint: SignedNote
    log_key: NoteKey

    def verify(self, log_key: NoteKey) -> Checkpoint:
        """Check the server's signature, the checkpoint, and that the receipt is in that log.

        Args:
            log_key: from elsewhere than the receipt.  The same key signs receipts and checkpoints.

        Returns:
            The checkpoint, for `audit.cosignature` and for comparison with others.

        Raises:
            NoteError, SignatureError, InclusionError: naming what is wrong.
        """
        if self.log_key != log_key:
            raise NoteError(
                f"a receipt of the log '{self.log_key.encoded()}', expected '{log_key.encoded()}'"
            )
        self.signed.verify_server(log_key.public)
        checkpoint, _ = verify_checkpoint(self.checkpoint.encoded(), log_key)
        verify_inclusion(
            checkpoint.root, checkpoint.size, self.index, self.signed.leaf, self.inclusion
        )
        return checkpoint

    def under(self, checkpoint: SignedNote, inclusion: tuple[bytes, ...]) -> ProvenReceipt:
        """The same receipt under another checkpoint."""
        return replace(self, checkpoint=checkpoint, inclusion=inclusion)

    def to_json(self) -> str:
        """The text of a receipt file."""
        content = {
            "format": FORMAT,
            "receipt": json.loads(receipt_to_json(self.signed)),
            "index": self.index,
            "inclusion": [base64.b64encode(item).decode() for item in self.inclusion],
            "checkpoint": self.checkpoint.encoded().decode(),
            "log_key": self.log_key.encoded(),
        }
        return json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n"

    @classmethod
    def from_json(cls, text: str) -> ProvenReceipt:
        """Parse what `to_json` wrote, and nothing else.

        Raises:
            ReceiptError, NoteError: malformed, or not the text that would be written.
        """
        if len(text) > MAX_FILE_BYTES:
            raise ReceiptError(f"receipt file of {len(text)} characters, at most {MAX_FILE_BYTES}")
        try:
            content: Any = json.loads(text)
            receipt = json.dumps(content["receipt"], indent=2, allow_nan=False) + "\n"
            index, inclusion = content["index"], content["inclusion"]
            note, key = content["checkpoint"], content["log_key"]
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
            raise ReceiptError(f"not a '{FORMAT}' file") from error
        if type(index) is not int or not isinstance(inclusion, list):
            raise ReceiptError(f"not a '{FORMAT}' file")
        if len(inclusion) > MAX_HASHES:
            raise ReceiptError(f"an inclusion proof has at most {MAX_HASHES} hashes")
        if not all(isinstance(item, str) for item in (*inclusion, note, key)):
            raise ReceiptError(f"not a '{FORMAT}' file")
        try:
            encoded_note = note.encode()
        except UnicodeEncodeError as error:
            raise ReceiptError("the checkpoint has no UTF-8 form") from error
        proven = cls(
            receipt_from_json(receipt),
            index,
            tuple(decode_base64(item, "inclusion") for item in inclusion),
            SignedNote.decoded(encoded_note),
            NoteKey.decoded(key),
        )
        if proven.to_json() != text:
            raise ReceiptError("JSON is not in the form that receipt files are written in")
        return proven
