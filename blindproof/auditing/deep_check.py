"""Every receipt of a log compared with the objects in its archive."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from audit.search import Query, search
from blindproof.auditing.answer_findings import AnswerVerifier
from blindproof.auditing.archive_objects import ArchiveObjects
from blindproof.auditing.expectations import Expectations
from blindproof.auditing.exporting import Trail
from blindproof.auditing.findings import ReceiptFindings


def check_answers(
    trail: Trail, *, proofs: bool, progress: Callable[[int], None] | None = None
) -> Iterator[ReceiptFindings]:
    """Compute the digests of each receipt again from what is archived.

    Args:
        trail: what is checked.  Requests that are sealed are read, and nothing of them is kept.
        proofs: whether to verify registrations, enrolments and answers, too.
        progress: told how many receipts are done.

    Yields:
        The findings of each receipt, in the order of the log.

    Raises:
        AuditError: the log or the archive cannot be read, or an entry is not what was recorded.
    """
    expected = Expectations(trail.log_key, int(time.time()), proofs=proofs)
    answers = AnswerVerifier(ArchiveObjects(trail.archive, plaintext=True), expected)
    for done, entry in enumerate(search(trail.log, Query()), start=1):
        receipt = entry.receipt().receipt
        yield ReceiptFindings(entry.index, receipt, tuple(answers.receipt(receipt)))
        if progress is not None:
            progress(done)
