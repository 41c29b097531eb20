"""The last act: somebody who holds nothing but a file verifies what happened in the others."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from io import BytesIO
from pathlib import Path
from typing import Any

from audit.proven_receipt import ProvenReceipt
from audit.signed_note import NoteKey
from blindproof.auditing.expectations import Expectations
from blindproof.auditing.export_file import ExportFile
from blindproof.auditing.exporting import Chosen, export_everything
from blindproof.auditing.findings import Status
from blindproof.auditing.verification import verify_export
from blindproof.demo.altered_exports import Alteration, altered
from blindproof.demo.answers import DemonstrationError
from server.trail_files import open_trail_files


@dataclass(frozen=True)
class RefusedExport:
    """An altered export and what refused it."""

    alteration: Alteration
    complaint: str


@dataclass(frozen=True)
class Audit:
    """What an auditor found.

    Attributes:
        receipt: of one answer, as its client keeps it.
        receipts: how many the export has.
        size: of the export, bytes.
        seconds: its verification took, in a process of its own.
        passed: by check, how often it held.
        refused: the altered exports.
    """

    receipt: ProvenReceipt
    receipts: int
    size: int
    seconds: float
    passed: dict[str, int]
    refused: tuple[RefusedExport, ...]


def export_trail(state: Path, file: Path) -> NoteKey:
    """Export everything a server has recorded; returns the log's key."""
    with closing(open_trail_files(state)) as trail:
        export_everything(file, trail, trail.key, Chosen())
        return trail.log_key


def audited(early: Path, late: Path, log_key: NoteKey, receipt: ProvenReceipt) -> Audit:
    """Verify an export offline, and see altered ones refused.

    Args:
        early: an export from when the log was young; the altered ones are made from it.
        late: the one that is verified, and must extend it.
        log_key: of the log.
        receipt: of one answer, to be shown.

    Raises:
        DemonstrationError: the export did not verify, or an altered one did.
    """
    with early.open("rb") as stream:
        checkpoint = ExportFile(stream).checkpoint()
    started = time.perf_counter()
    report = _verified_elsewhere(late, log_key, checkpoint)
    seconds = time.perf_counter() - started
    every = [*report["findings"], *(each for one in report["receipts"] for each in one["findings"])]
    return Audit(
        receipt=receipt,
        receipts=len(report["receipts"]),
        size=late.stat().st_size,
        seconds=seconds,
        passed=dict(Counter(finding["subject"] for finding in every)),
        refused=tuple(_refused(early.read_bytes(), log_key)),
    )


def _verified_elsewhere(
    file: Path,
    log_key: NoteKey,
    checkpoint: bytes,
) -> Any:  # noqa: ANN401 -- parsed JSON
    """The report of `blindproof audit verify`, run where there is nothing but the export."""
    with tempfile.TemporaryDirectory(prefix="blindproof-auditor-") as elsewhere:
        path, older = Path(elsewhere) / "report.json", Path(elsewhere) / "checkpoint"
        older.write_bytes(checkpoint)
        command = ["audit", "verify", str(file), "--log-key", log_key.encoded(), "--strict"]
        given = ["--checkpoint", str(older), "--report", str(path)]
        done = subprocess.run(  # noqa: S603 -- this program itself
            [sys.executable, "-m", "blindproof", *command, *given],
            cwd=elsewhere,
            capture_output=True,
            check=False,
        )
        if done.returncode != 0:
            verdict = done.stdout.decode() or done.stderr.decode()
            raise DemonstrationError(f"the audit trail was refused: {verdict}")
        return json.loads(path.read_text())


def _refused(export: bytes, log_key: NoteKey) -> Iterator[RefusedExport]:
    # Signatures, places and digests suffice here: proofs are the other acts' subject.
    expected = Expectations(log_key, int(time.time()), proofs=False)
    for alteration in Alteration:
        report = verify_export(BytesIO(altered(export, alteration)), expected)
        every = (*report.findings, *(each for one in report.receipts for each in one.findings))
        failed = [finding for finding in every if finding.status is Status.FAILED]
        if not failed:
            raise DemonstrationError(f"an auditor accepted another trail ({alteration})")
        yield RefusedExport(alteration, str(failed[0].subject))
