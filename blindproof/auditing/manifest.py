"""What an export says it holds: the last member of the file.

    checkpoint                 the log's signed note, with all cosignatures
    receipts/<index>.json      a receipt with what proves it, see `audit.proven_receipt`
    requests/<receipt id>      archived messages, `wire.archived`
    responses/<receipt id>
    models/<model digest>
    enrolments/<key digest>
    manifest.json              this

A manifest is signed by nobody: its hashes find accidents, and what is left out it leaves out as it
likes.  What makes receipts true are the log's signatures, and what makes answers true their proofs.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from audit.errors import NoteError
from audit.merkle import HASH_BYTES, MAX_SIZE
from audit.proven_receipt import MAX_HASHES
from audit.signed_note import NoteKey, decode_base64
from blindproof.auditing.errors import ExportError

FORMAT = "blindproof audit export 1"
CHECKPOINT = "checkpoint"
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 1 << 26
_RECEIPTS = "receipts/"
_DIGITS = 19
"""Of an index, so that names sort like indices."""


class Kind(StrEnum):
    """Kinds of archived objects, by the folder they are in."""

    REQUEST = "requests"
    RESPONSE = "responses"
    MODEL = "models"
    ENROLMENT = "enrolments"

    def member(self, name: bytes) -> str:
        """The member of an object: named by the receipt's id, or by a digest."""
        return f"{self}/{name.hex()}"


class Omission(StrEnum):
    """Why an object is left out."""

    NOT_ASKED = "objects were not exported"
    PLAINTEXT = "columns in clear were not exported"
    REMOVED = "a retention rule has removed it"
    ERASED = "the key it was sealed under was erased"
    MISSING = "the archive does not have it"
    DAMAGED = "what the archive has is damaged"


@dataclass(frozen=True)
class Manifest:
    """What an export holds.

    Attributes:
        log_key: the key the log says it has; whoever verifies compares it with one from elsewhere.
        consistency: by older size, hashes from there to the checkpoint's size.
        omitted: by member, why it is left out.
        members: by name, SHA-256 of the content, in the order of the file, this one not counted.
    """

    log_key: NoteKey
    consistency: dict[int, tuple[bytes, ...]]
    omitted: dict[str, Omission]
    members: dict[str, bytes]

    def encoded(self) -> bytes:
        """The text of the member."""
        content = {
            "format": FORMAT,
            "log_key": self.log_key.encoded(),
            "consistency": [
                {"old_size": size, "hashes": [base64.b64encode(item).decode() for item in hashes]}
                for size, hashes in self.consistency.items()
            ],
            "omitted": [
                {"name": name, "reason": str(reason)} for name, reason in self.omitted.items()
            ],
            "members": [
                {"name": name, "sha256": digest.hex()} for name, digest in self.members.items()
            ],
        }
        return (json.dumps(content, indent=1) + "\n").encode()

    @classmethod
    def decoded(cls, data: bytes) -> Manifest:
        """Parse what `encoded` wrote, and nothing else.

        Raises:
            ExportError: malformed.
        """
        try:
            manifest = cls._from_content(json.loads(data))
        except (ValueError, RecursionError, TypeError, KeyError, AttributeError) as error:
            if isinstance(error, ExportError | NoteError):
                raise ExportError(f"malformed manifest: {error}") from error
            raise ExportError(f"not the manifest of a '{FORMAT}'") from error
        # What the lines above overlook, such as unknown or repeated entries, shows here.
        if manifest.encoded() != data:
            raise ExportError("the manifest is not in the form that exports write")
        return manifest

    @classmethod
    def _from_content(cls, content: Any) -> Manifest:  # noqa: ANN401 -- parsed JSON
        if content["format"] != FORMAT:
            raise ExportError(f"not a '{FORMAT}'")
        return cls(
            NoteKey.decoded(content["log_key"]),
            {_size(item["old_size"]): _hashes(item["hashes"]) for item in content["consistency"]},
            {_text(item["name"]): Omission(item["reason"]) for item in content["omitted"]},
            {_text(item["name"]): bytes.fromhex(item["sha256"]) for item in content["members"]},
        )


def receipt_member(index: int) -> str:
    """The member of the receipt at an index of the log."""
    return f"{_RECEIPTS}{index:0{_DIGITS}d}.json"


def receipt_index(member: str) -> int | None:
    """The index of a receipt's member, None of another member."""
    digits = member.removeprefix(_RECEIPTS).removesuffix(".json")
    if not digits.isdecimal() or receipt_member(int(digits)) != member:
        return None
    return int(digits)


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ExportError("members are named by texts")
    return value


def _size(value: object) -> int:
    if type(value) is not int or not 0 < value <= MAX_SIZE:
        raise ExportError("the size of an older log is a number of entries")
    return value


def _hashes(values: list[str]) -> tuple[bytes, ...]:
    hashes = tuple(decode_base64(value, "consistency") for value in values)
    if len(hashes) > MAX_HASHES or any(len(item) != HASH_BYTES for item in hashes):
        raise ExportError(f"a proof has at most {MAX_HASHES} hashes of {HASH_BYTES} bytes")
    return hashes
