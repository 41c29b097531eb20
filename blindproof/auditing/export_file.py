"""An export that was opened: its members by what they are, each compared with the manifest."""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Iterator
from typing import BinaryIO

from audit.errors import AuditError
from audit.proven_receipt import MAX_FILE_BYTES, ProvenReceipt
from audit.signed_note import MAX_NOTE_BYTES, NoteKey
from blindproof.auditing.container import MAX_MEMBER_BYTES, MAX_NAME, ContainerReader
from blindproof.auditing.errors import ExportError, NotExportedError
from blindproof.auditing.manifest import (
    CHECKPOINT,
    MANIFEST,
    MAX_MANIFEST_BYTES,
    Kind,
    Manifest,
    receipt_index,
)
from protocol.errors import EncodingError


class ExportFile:
    """An export; well-formed, its objects read one at a time and only when asked for.

    Attributes:
        log_key: the key the log says it has.
        consistency: by older size, hashes from there to the checkpoint's size.
    """

    def __init__(self, stream: BinaryIO) -> None:
        """Read the directory and the manifest of a seekable stream.

        Raises:
            ExportError: not an export, or its manifest is about other members.
            OSError: the stream cannot be read.
        """
        self._container = ContainerReader(stream)
        manifest = Manifest.decoded(self._container.read(MANIFEST, MAX_MANIFEST_BYTES))
        self._members = manifest.members
        self._sound: set[str] = set()
        self._omitted = manifest.omitted
        self.log_key: NoteKey = manifest.log_key
        self.consistency = manifest.consistency
        self._require_listed()
        self._receipts = {
            index: name for name in self._members if (index := receipt_index(name)) is not None
        }

    @property
    def indices(self) -> tuple[int, ...]:
        """Places of the receipts in the log, ascending."""
        return tuple(sorted(self._receipts))

    @property
    def objects(self) -> frozenset[str]:
        """Names of all archived objects that are here, or are said to be left out."""
        return frozenset((*self._members, *self._omitted)) - {CHECKPOINT, *self._receipts.values()}

    def checkpoint(self) -> bytes:
        """The log's checkpoint.  Raises ExportError, OSError."""
        return self._read(CHECKPOINT, MAX_NOTE_BYTES)

    def receipt(self, index: int) -> ProvenReceipt:
        """A receipt, not verified.

        Raises:
            ExportError: not a receipt, or of another place.
            OSError: the stream cannot be read.
        """
        name = self._receipts[index]
        try:
            proven = ProvenReceipt.from_json(self._read(name, MAX_FILE_BYTES).decode())
        except (AuditError, EncodingError, UnicodeDecodeError) as error:
            raise ExportError(f"{name}: {error}") from error
        if proven.index != index:
            raise ExportError(f"{name} is the receipt of place {proven.index}")
        return proven

    def object(self, kind: Kind, name: bytes) -> bytes:
        """An archived object, as it travelled.

        Raises:
            NotExportedError: the export says that it was left out.
            ExportError: it is missing or damaged.
            OSError: the stream cannot be read.
        """
        member = kind.member(name)
        reason = self._omitted.get(member)
        if reason is not None:
            raise NotExportedError(f"{member}: {reason}", str(reason))
        return self._read(member, MAX_MEMBER_BYTES)

    def damaged(self) -> Iterator[str]:
        """Reads what nobody has read yet; complaints about members the manifest does not list."""
        for name in [name for name in self._members if name not in self._sound]:
            try:
                self._read(name, MAX_MEMBER_BYTES)
            except ExportError as error:
                yield str(error)

    def _read(self, name: str, limit: int) -> bytes:
        content = self._container.read(name, limit)
        if not hmac.compare_digest(hashlib.sha256(content).digest(), self._members[name]):
            raise ExportError(f"member {name} is not the one the manifest lists")
        self._sound.add(name)
        return content

    def _require_listed(self) -> None:
        *names, last = self._container.names
        if last != MANIFEST or names != list(self._members) or CHECKPOINT not in names:
            unlisted = sorted(set(names) ^ set(self._members))
            raise ExportError(
                "the members of the export are not those its manifest lists"
                + (f": {unlisted[0][:MAX_NAME]!r}" if unlisted else ", in that order")
            )
        both = sorted(self._members.keys() & self._omitted.keys())
        if both:
            raise ExportError(f"{both[0]} is in the export, which says that it was left out")
