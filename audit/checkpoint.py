"""Checkpoints: what a log says of itself at one size, signed: c2sp.org/tlog-checkpoint.

Three lines: the log's origin, the number of its entries, base64 of the tree's root.  Extension
lines are refused: the specification advises against them, and nobody here would check them.
"""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass

from audit.errors import NoteError
from audit.keys import SigningKey
from audit.merkle import EMPTY_ROOT, HASH_BYTES, MAX_SIZE
from audit.signed_note import (
    NoteKey,
    SignedNote,
    decode_base64,
    require_name,
    sign_note,
    verify_note,
)

_SIZE = re.compile(r"0|[1-9][0-9]{0,18}")


@dataclass(frozen=True)
class Checkpoint:
    """A log at one size.

    Attributes:
        origin: the log's name, also that of its key.
        size: number of entries.
        root: of the Merkle tree over them, 32 bytes.
    """

    origin: str
    size: int
    root: bytes

    def __post_init__(self) -> None:
        require_name(self.origin)
        if not 0 <= self.size <= MAX_SIZE:
            raise NoteError(f"a log has at most {MAX_SIZE} entries, found {self.size}")
        if len(self.root) != HASH_BYTES:
            raise NoteError(f"a root has {HASH_BYTES} bytes, found {len(self.root)}")
        if self.size == 0 and self.root != EMPTY_ROOT:
            raise NoteError("an empty log has one root, found another")

    def text(self) -> str:
        """The text that is signed."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def from_text(cls, text: str) -> Checkpoint:
        """Parse what `text` wrote.

        Raises:
            NoteError: other lines than the three, or malformed ones.
        """
        lines = text.split("\n")
        if len(lines) != 4 or lines[3]:
            raise NoteError("a checkpoint has three lines: origin, size and root")
        if _SIZE.fullmatch(lines[1]) is None:
            raise NoteError(f"not the size of a log: {lines[1][:40]!r}")
        return cls(lines[0], int(lines[1]), decode_base64(lines[2], "root"))


def sign_checkpoint(checkpoint: Checkpoint, key: SigningKey) -> SignedNote:
    """The checkpoint with the log's signature.

    A log must never sign two checkpoints which no consistency proof joins: `AuditLog.checkpoint`
    checks the stored tree first.
    """
    return sign_note(checkpoint.text(), checkpoint.origin, key)


def verify_checkpoint(data: bytes, key: NoteKey) -> tuple[Checkpoint, SignedNote]:
    """Parse a checkpoint and check that a log has signed it.

    Args:
        data: the note.
        key: the log's, whose name is the origin that is expected.

    Returns:
        The checkpoint, and the note with all its lines for `audit.cosignature`.

    Raises:
        NoteError: malformed, or of another log.
        SignatureError: not signed by the key.
    """
    note = SignedNote.decoded(data)
    verify_note(note, key)
    checkpoint = Checkpoint.from_text(note.text)
    if checkpoint.origin != key.name:
        raise NoteError(f"checkpoint of '{checkpoint.origin}', expected '{key.name}'")
    return checkpoint, note
