"""The body of an add-checkpoint request, c2sp.org/tlog-witness."""

from __future__ import annotations

import base64
import re
from dataclasses import dataclass
from http import HTTPStatus

from audit.checkpoint import Checkpoint
from audit.errors import NoteError
from audit.merkle import HASH_BYTES
from audit.signed_note import MAX_NOTE_BYTES, SignedNote, decode_base64
from witness.errors import RefusedError

MAX_HASHES = 63
_HASH_LINE = len(base64.b64encode(bytes(HASH_BYTES))) + 1
_OLD = re.compile(r"old (0|[1-9][0-9]{0,18})")
MAX_BODY_BYTES = len("old \n\n") + 19 + MAX_HASHES * _HASH_LINE + MAX_NOTE_BYTES


@dataclass(frozen=True)
class AddCheckpoint:
    """A checkpoint to be cosigned, well formed and not verified.

    Attributes:
        old_size: of the tree which the proof starts from.
        proof: hashes of a consistency proof, 32 bytes each.
        checkpoint: what the note says.
        note: the checkpoint with its signatures.
    """

    old_size: int
    proof: tuple[bytes, ...]
    checkpoint: Checkpoint
    note: SignedNote

    @classmethod
    def decoded(cls, body: bytes) -> AddCheckpoint:
        """Parse a request.

        Raises:
            RefusedError: malformed, or an old size beyond the new one.
        """
        head, blank, note_bytes = body.partition(b"\n\n")
        try:
            if not blank:
                raise NoteError("an empty line must stand before the checkpoint")
            first, *hashes = head.decode("ascii").split("\n")
            old = _OLD.fullmatch(first)
            if old is None:
                raise NoteError("the first line must be 'old' and a size")
            if len(hashes) > MAX_HASHES:
                raise NoteError(f"a consistency proof has at most {MAX_HASHES} lines")
            proof = tuple(_hash(line) for line in hashes)
            note = SignedNote.decoded(note_bytes)
            checkpoint = Checkpoint.from_text(note.text)
            old_size = int(old[1])
            if old_size > checkpoint.size:
                raise NoteError("the old size is beyond the checkpoint's")
        except (NoteError, UnicodeDecodeError) as error:
            reason = "not ASCII" if isinstance(error, UnicodeDecodeError) else str(error)
            raise RefusedError(HTTPStatus.BAD_REQUEST, f"{reason}\n") from error
        return cls(old_size, proof, checkpoint, note)


def _hash(line: str) -> bytes:
    found = decode_base64(line, "consistency proof")
    if len(found) != HASH_BYTES:
        raise NoteError(f"a line of a proof is a hash of {HASH_BYTES} bytes")
    return found
