"""What a verification found, of the log and of each receipt."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum

from audit.checkpoint import Checkpoint
from audit.receipt import Receipt
from audit.signed_note import NoteKey


class Status(StrEnum):
    """What came of one check."""

    PASSED = "passed"
    FAILED = "failed"
    NOT_CHECKED = "not checked"


class Subject(StrEnum):
    """What was checked."""

    LOG_KEY = "log key"
    CHECKPOINT = "checkpoint"
    WITNESSES = "witnesses"
    OLDER_CHECKPOINT = "older checkpoint"
    CONTENTS = "contents of the file"
    RECEIPT = "receipt"
    SIGNATURE = "server's signature"
    INCLUSION = "place in the log"
    CLIENT_SIGNATURE = "client's signature"
    MODEL = "model"
    KEY = "client's key"
    ANSWER = "request and answer"
    PROOF = "proof"


@dataclass(frozen=True)
class Finding:
    """One check.

    Attributes:
        subject: of what.
        status: what came of it.
        detail: in a sentence.
    """

    subject: Subject
    status: Status
    detail: str


@dataclass(frozen=True)
class ReceiptFindings:
    """All checks of one receipt.

    Attributes:
        index: its place in the log.
        receipt: None if it could not be read.
        findings: in the order of the checks.
    """

    index: int
    receipt: Receipt | None
    findings: tuple[Finding, ...]

    @property
    def status(self) -> Status:
        """The worst of its findings."""
        return worst(self.findings)


@dataclass(frozen=True)
class Report:
    """What one export shows.

    Attributes:
        sha256: of the file.
        size: of the file, bytes.
        log_key: that was expected.
        checkpoint: of the export, None if it is not the log's.
        findings: about the log and the file as a whole.
        receipts: in the order of the log.
        assumptions: what holds only if somebody is trusted, in sentences.
    """

    sha256: bytes
    size: int
    log_key: NoteKey
    checkpoint: Checkpoint | None
    findings: tuple[Finding, ...]
    receipts: tuple[ReceiptFindings, ...]
    assumptions: tuple[str, ...]

    @property
    def status(self) -> Status:
        """The worst of all findings."""
        return worst((*self.findings, *(each for one in self.receipts for each in one.findings)))

    def counts(self, subject: Subject) -> Counter[Status]:
        """How many receipts came to what in one check."""
        return Counter(
            finding.status
            for one in self.receipts
            for finding in one.findings
            if finding.subject is subject
        )


def passed(subject: Subject, detail: str) -> Finding:
    """A check that was made and held."""
    return Finding(subject, Status.PASSED, _printable(detail))


def failed(subject: Subject, detail: object) -> Finding:
    """A check that was made and did not hold."""
    return Finding(subject, Status.FAILED, _printable(str(detail)))


def not_checked(subject: Subject, detail: str) -> Finding:
    """A check that was not made, and why."""
    return Finding(subject, Status.NOT_CHECKED, _printable(detail))


def worst(findings: Iterable[Finding]) -> Status:
    """FAILED if anything did, else NOT_CHECKED if anything was not, else PASSED."""
    found = {finding.status for finding in findings}
    return next(
        (status for status in (Status.FAILED, Status.NOT_CHECKED) if status in found),
        Status.PASSED,
    )


def _printable(text: str) -> str:
    """Names of models and members come from others, and are shown on terminals."""
    return "".join(character if character.isprintable() else "?" for character in text)
