"""The checkpoints that a log keeps of itself, each compared with the one before."""

from __future__ import annotations

import time
from dataclasses import dataclass

from sqlalchemy import select

from audit.checkpoint import Checkpoint, verify_checkpoint
from audit.cosignature import WitnessPolicy, verify_cosignature
from audit.database import translated_errors
from audit.errors import AuditError, LogUnavailableError, NoteError, UnknownEntryError
from audit.head import Head
from audit.log import AuditLog
from audit.merkle import verify_consistency
from audit.schema import checkpoints
from audit.signed_note import NoteKey, NoteSignature, SignedNote
from server.page.findings import Finding, State
from server.page.rendering import instant

LINKS = 20
"""Checkpoints on one page."""


@dataclass(frozen=True)
class Link:
    """One kept checkpoint, and what was found about it.

    Attributes:
        size: of the log, by the row that keeps the checkpoint.
        root: 32 bytes; empty if what is kept is no checkpoint.
        signature: of the log.
        cosignatures: of witnesses, by name.
        consistency: with the kept checkpoint before.
    """

    size: int
    root: bytes
    signature: Finding
    cosignatures: tuple[tuple[str, Finding], ...]
    consistency: Finding


@dataclass(frozen=True)
class Chain:
    """A part of the chain, the newest first.

    Attributes:
        head: the log as it is now.
        log_key: of the log, as one word.
        links: at most `LINKS`.
        newest: whether the part begins with the newest.
        older: where the next part begins, None if there is none.
    """

    head: Head
    log_key: str
    links: tuple[Link, ...]
    newest: bool
    older: int | None


class ChainReader:
    """Reads kept checkpoints and checks them again.

    Args:
        log: whose checkpoints.
        log_key: of the log.
        policy: the witnesses whose signatures can be checked, if any are known.
    """

    def __init__(self, log: AuditLog, log_key: NoteKey, policy: WitnessPolicy | None) -> None:
        self._log = log
        self._log_key = log_key
        self._witnesses = () if policy is None else policy.witnesses

    def chain(self, before: int | None) -> Chain:
        """The newest checkpoints, or those of sizes below one.

        Raises:
            LogStateError, LogUnavailableError: as `AuditLog.head`.
        """
        head = self._log.head()
        # One more than is shown: what the last one shown is compared with.
        rows = self._rows(before)
        found = [(size, *self._checkpoint(size, data)) for size, data in rows]
        links = tuple(
            Link(
                size,
                b"" if checkpoint is None else checkpoint.root,
                signature,
                self._cosignatures(data),
                self._consistency(checkpoint, found[at + 1][1] if at + 1 < len(found) else None),
            )
            for at, ((size, checkpoint, signature), (_, data)) in enumerate(
                zip(found[:LINKS], rows, strict=False)
            )
        )
        older = links[-1].size if len(found) > LINKS else None
        return Chain(head, self._log_key.encoded(), links, before is None, older)

    def note(self, size: int) -> bytes:
        """The kept checkpoint of a size, as it is kept.

        Raises:
            UnknownEntryError: there is none.
            LogUnavailableError: the database failed.
        """
        chosen = select(checkpoints.c.note).where(checkpoints.c.size == size)
        with translated_errors(), self._log.engine.begin() as connection:
            data = connection.execute(chosen).scalar_one_or_none()
        if data is None:
            raise UnknownEntryError(f"no checkpoint of {size} entries is kept")
        return bytes(data)

    def _rows(self, before: int | None) -> list[tuple[int, bytes]]:
        chosen = select(checkpoints.c.size, checkpoints.c.note)
        if before is not None:
            chosen = chosen.where(checkpoints.c.size < before)
        chosen = chosen.order_by(checkpoints.c.size.desc()).limit(LINKS + 1)
        with translated_errors(), self._log.engine.begin() as connection:
            return [(row.size, bytes(row.note)) for row in connection.execute(chosen)]

    def _checkpoint(self, size: int, data: bytes) -> tuple[Checkpoint | None, Finding]:
        """The checkpoint in a kept note, and what the log's signature over it is worth."""
        try:
            checkpoint, _ = verify_checkpoint(data, self._log_key)
            if checkpoint.size != size:
                raise NoteError(f"it is a checkpoint of {checkpoint.size} entries")
        except AuditError as error:
            return None, Finding(State.FAILED, "does not verify", f"{error}.")
        return checkpoint, Finding(
            State.PASSED, "verifies", "By the log's key, over size and root."
        )

    def _cosignatures(self, data: bytes) -> tuple[tuple[str, Finding], ...]:
        try:
            note = SignedNote.decoded(data)
        except NoteError:
            return ()  # which the log's signature says already
        own = set(note.by_key(self._log_key))
        return tuple(
            (self._label(line), self._cosignature(note.text, line))
            for line in note.signatures
            if line not in own
        )

    def _label(self, line: NoteSignature) -> str:
        # Aggregates of witnesses' signatures stand under the log's own name.
        return "Witnesses" if line.name == self._log.origin else f"Witness {line.name}"

    def _cosignature(self, text: str, line: NoteSignature) -> Finding:
        for witness in self._witnesses:
            if (line.name, line.key_id) != (witness.key.name, witness.key.key_id):
                continue
            try:
                made = verify_cosignature(text, witness.key, line, int(time.time()))
            except AuditError as error:
                return Finding(State.FAILED, "does not verify", f"{error}.")
            at = instant(made.time_seconds * 1_000_000_000, whole=False)
            return Finding(State.PASSED, "verifies", f"Signed at {at} UTC, by the witness's clock.")
        # Aggregates are among these: one takes a second, and there may be one in each checkpoint.
        return Finding(State.NEUTRAL, "not checked", "Of a key or a kind that is not checked here.")

    def _consistency(self, newer: Checkpoint | None, older: Checkpoint | None) -> Finding:
        if newer is None:
            return Finding(State.ABSENT, "not compared", "This one does not verify.")
        if older is None or older.size == 0:
            return Finding(State.NEUTRAL, "none", "Nothing that it must extend is kept.")
        try:
            proof = self._log.consistency_proof(older.size, newer.size)
            verify_consistency(older.size, older.root, newer.size, newer.root, proof)
        except LogUnavailableError:
            raise
        except AuditError as error:
            return Finding(State.FAILED, "not extended", f"{error}.")
        return Finding(
            State.PASSED,
            "extended",
            f"All {older.size:,} entries come first here, in their order.",
        )
