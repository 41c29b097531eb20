"""Writing an export: receipts of a log with all that proves them, and the objects they are about.

Objects are copied as whoever was asked for them got them, one at a time.  Requests that rest sealed
hold columns in clear: they are left out unless they are asked for.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import BinaryIO, Protocol

from audit.archive import Archive
from audit.checkpoint import Checkpoint
from audit.countersignatures import countersignature
from audit.entry import Entry
from audit.keys import SigningKey
from audit.log import AuditLog
from audit.proven_receipt import ProvenReceipt
from audit.receipt import Action, Outcome, Receipt
from audit.signed_note import NoteKey, SignedNote
from blindproof.auditing.archive_objects import ArchiveObjects
from blindproof.auditing.container import ContainerWriter
from blindproof.auditing.errors import ExportError, NotExportedError
from blindproof.auditing.manifest import (
    CHECKPOINT,
    MANIFEST,
    Kind,
    Manifest,
    Omission,
    receipt_member,
)
from wire.files import private_file


class Trail(Protocol):
    """What is exported from: `server.trail_files.TrailFiles`, or what looks like it."""

    @property
    def log(self) -> AuditLog:
        """The receipts."""

    @property
    def archive(self) -> Archive:
        """What they are about."""

    @property
    def log_key(self) -> NoteKey:
        """What verifies them."""


@dataclass(frozen=True)
class Chosen:
    """What is exported beside the receipts.

    Attributes:
        objects: whether the objects are.
        plaintext: whether requests with columns in clear are, too.
        since: sizes of older checkpoints from which consistency is shown.
    """

    objects: bool = True
    plaintext: bool = False
    since: tuple[int, ...] = ()


@dataclass(frozen=True)
class Exported:
    """What was written.

    Attributes:
        receipts: how many.
        objects: how many.
        omitted: how many objects were left out, by the reason.
        checkpoint: under which the receipts are proved.
    """

    receipts: int
    objects: int
    omitted: Counter[Omission]
    checkpoint: Checkpoint


def write_export(
    path: Path, trail: Trail, note: SignedNote, chosen: Chosen, entries: Iterable[Entry]
) -> Exported:
    """Write an export, readable by its owner only, whole or not at all.

    Args:
        path: of the file; one that is there is replaced.
        trail: what is exported from.
        note: a checkpoint of the log.
        chosen: what is exported beside the receipts.
        entries: of the log, each below the checkpoint's size and once.

    Raises:
        ExportError: too many members, or objects that are too large.
        AuditError: the log or the archive cannot be read, or is not what it was.
        OSError: the file cannot be written.
    """
    with private_file(path) as stream:
        export = _Export(stream, trail, note, chosen)
        for entry in entries:
            export.add(entry)
        return export.finish()


def export_everything(path: Path, trail: Trail, key: SigningKey, chosen: Chosen) -> Exported:
    """Write the whole log as it is now, under a checkpoint that is signed for it.

    Args:
        path: of the file; one that is there is replaced.
        trail: what is exported from.
        key: the log's.
        chosen: what is exported beside the receipts.

    Raises:
        ExportError, AuditError, OSError: as `write_export`.
    """
    note = trail.log.checkpoint(key)
    size = Checkpoint.from_text(note.text).size
    return write_export(path, trail, note, chosen, trail.log.entries(0, size))


class _Export:
    """One export on its way to the file."""

    def __init__(self, stream: BinaryIO, trail: Trail, note: SignedNote, chosen: Chosen) -> None:
        self._trail, self._note, self._chosen = trail, note, chosen
        self._objects = ArchiveObjects(trail.archive, plaintext=chosen.plaintext)
        self._checkpoint = Checkpoint.from_text(note.text)
        self._container = ContainerWriter(stream)
        self._members: dict[str, bytes] = {}
        self._omitted: dict[str, Omission] = {}
        self._receipts = 0
        self._add(CHECKPOINT, note.encoded())

    def add(self, entry: Entry) -> None:
        """A receipt and what it is about."""
        log, size = self._trail.log, self._checkpoint.size
        signed = entry.receipt()
        receipt = signed.receipt
        proof = log.inclusion_proof(entry.index, size)
        proven = ProvenReceipt(
            signed=replace(signed, client=countersignature(log, receipt.receipt_id)),
            index=entry.index,
            inclusion=proof.hashes,
            checkpoint=self._note,
            log_key=self._trail.log_key,
        )
        proven.verify(self._trail.log_key)  # an export that nobody could verify is not written
        self._add(receipt_member(entry.index), proven.to_json().encode())
        self._receipts += 1
        for kind, name in objects_of(receipt):
            self._add_object(kind, name)

    def finish(self) -> Exported:
        """Consistency with older checkpoints, manifest and directory."""
        log, size = self._trail.log, self._checkpoint.size
        consistency = {
            older: log.consistency_proof(older, size)
            for older in sorted(set(self._chosen.since))
            if 0 < older < size
        }
        manifest = Manifest(self._trail.log_key, consistency, self._omitted, self._members)
        self._container.add(MANIFEST, manifest.encoded())
        self._container.finish()
        return Exported(
            receipts=self._receipts,
            objects=len(self._members) - self._receipts - 1,
            omitted=Counter(self._omitted.values()),
            checkpoint=self._checkpoint,
        )

    def _add_object(self, kind: Kind, name: bytes) -> None:
        member = kind.member(name)
        if member in self._members or member in self._omitted:
            return
        if not self._chosen.objects:
            self._omitted[member] = Omission.NOT_ASKED
            return
        try:
            self._add(member, self._objects.object(kind, name))
        except NotExportedError as error:
            self._omitted[member] = Omission(error.reason)

    def _add(self, name: str, content: bytes) -> None:
        if name in self._members:
            raise ExportError(f"{name} was to be exported twice")
        self._container.add(name, content)
        self._members[name] = hashlib.sha256(content).digest()


def objects_of(receipt: Receipt) -> Sequence[tuple[Kind, bytes]]:
    """Kinds and names of the objects a receipt is about; none of what was denied or failed."""
    if receipt.outcome is not Outcome.ANSWERED:
        return ()
    digests = receipt.digests
    shared = ((Kind.MODEL, digests.model), (Kind.ENROLMENT, digests.key))
    found = [(kind, name) for kind, name in shared if name is not None]
    if receipt.action is Action.PREDICT:
        found += [(kind, receipt.receipt_id) for kind in (Kind.REQUEST, Kind.RESPONSE)]
    return found
