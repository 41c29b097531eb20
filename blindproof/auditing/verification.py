"""An export verified from the file alone: signatures, the log, and every answer's proof.

Nothing stops at the first thing that is wrong: each receipt has findings of its own.  One request
is in memory at a time; a model's registration and a key's enrolment are verified once.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from typing import BinaryIO

from blindproof.auditing.answer_findings import AnswerVerifier
from blindproof.auditing.errors import ExportError
from blindproof.auditing.expectations import Expectations
from blindproof.auditing.export_file import ExportFile
from blindproof.auditing.findings import (
    Finding,
    ReceiptFindings,
    Report,
    Subject,
    failed,
    passed,
)
from blindproof.auditing.log_findings import LogVerifier

_HASHED_BYTES = 1 << 20
_SHOWN_RANGES = 20


def verify_export(
    stream: BinaryIO,
    expected: Expectations,
    progress: Callable[[int, int], None] | None = None,
) -> Report:
    """Verify an export.

    Args:
        stream: the file, seekable.
        expected: what it is compared with.
        progress: told how many receipts are done, and of how many.

    Raises:
        ExportError: not an export, or one whose parts do not belong together.
        OSError: the file cannot be read.
    """
    size, sha256 = _identity(stream)
    export = ExportFile(stream)
    log, answers = LogVerifier(export, expected), AnswerVerifier(export, expected)
    receipts = []
    for done, index in enumerate(export.indices):
        if progress is not None:
            progress(done, len(export.indices))
        receipts.append(_receipt(export, log, answers, index))
    if progress is not None:
        progress(len(receipts), len(receipts))
    total = 0 if log.checkpoint is None else log.checkpoint.size
    return Report(
        sha256=sha256,
        size=size,
        log_key=expected.log_key,
        checkpoint=log.checkpoint,
        findings=(*log.log(), _contents(export, answers.named, total)),
        receipts=tuple(receipts),
        assumptions=tuple(expected.assumptions()),
    )


def _receipt(
    export: ExportFile, log: LogVerifier, answers: AnswerVerifier, index: int
) -> ReceiptFindings:
    try:
        proven = export.receipt(index)
    except ExportError as error:
        return ReceiptFindings(index, None, (failed(Subject.RECEIPT, error),))
    receipt = proven.signed.receipt
    return ReceiptFindings(index, receipt, (*log.receipt(proven), *answers.receipt(receipt)))


def _contents(export: ExportFile, named: set[str], size: int) -> Finding:
    """Which entries of the log the file has, and whether it holds anything else."""
    strangers = sorted(export.objects - named)
    if strangers:
        return failed(Subject.CONTENTS, f"no receipt here is about {strangers[0]}")
    damaged = next(export.damaged(), None)
    if damaged is not None:
        return failed(Subject.CONTENTS, damaged)
    if export.indices == tuple(range(size)):
        return passed(Subject.CONTENTS, f"the whole log: each of its {size} entries")
    detail = f"{len(export.indices)} of the log's {size} entries: {_ranges(export.indices)}"
    return passed(Subject.CONTENTS, detail)


def _ranges(indices: tuple[int, ...]) -> str:
    """Ascending numbers as ranges without a gap."""
    ranges: list[list[int]] = []
    for index in indices:
        if ranges and index == ranges[-1][1] + 1:
            ranges[-1][1] = index
        else:
            ranges.append([index, index])
    texts = [f"{low}" if low == high else f"{low}-{high}" for low, high in ranges]
    if len(texts) > _SHOWN_RANGES:
        texts[_SHOWN_RANGES:] = [f"and {len(texts) - _SHOWN_RANGES} further ranges"]
    return ", ".join(texts) or "none"


def _identity(stream: BinaryIO) -> tuple[int, bytes]:
    """Size and SHA-256 of the file."""
    size = stream.seek(0, os.SEEK_END)
    stream.seek(0)
    hashing = hashlib.sha256()
    while block := stream.read(_HASHED_BYTES):
        hashing.update(block)
    return size, hashing.digest()
