"""Logs and requests for the tests of witnesses."""

from __future__ import annotations

import base64
from pathlib import Path

from audit.database import open_engine
from audit.keys import SigningKey
from audit.log import AuditLog
from audit.signed_note import SignedNote
from tests.unit.audit.example_receipts import LOG, ORIGIN, numbered


def watched_log(
    directory: Path, entries: int = 0, first: int = 0, origin: str = ORIGIN
) -> AuditLog:
    """A log with receipts from a number on: logs with other numbers are other histories."""
    directory.mkdir(exist_ok=True)
    log = AuditLog.open(open_engine(f"sqlite:///{directory / 'audit.db'}"), origin)
    grow(log, entries, first)
    return log


def grow(log: AuditLog, entries: int, first: int = 0) -> AuditLog:
    start = first + log.head().size
    log.append([numbered(number) for number in range(start, start + entries)])
    return log


def request(old: int, proof: tuple[bytes, ...], note: SignedNote) -> bytes:
    lines = "".join(f"{base64.b64encode(item).decode()}\n" for item in proof)
    return f"old {old}\n{lines}\n".encode() + note.encoded()


def asking(log: AuditLog, old: int, key: SigningKey = LOG) -> bytes:
    """A request for the log as it is, with its proof from an older size."""
    note = log.checkpoint(key)
    size = log.head().size
    proof = log.consistency_proof(old, size) if 0 < old < size else ()
    return request(old, proof, note)
