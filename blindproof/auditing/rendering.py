"""Reports for people and for other programs: text, JSON, and a page that needs nothing but itself.

What stands in a report comes from others.  Findings hold printable characters only; the page
escapes everything it shows.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path

from audit.receipt import Receipt
from blindproof.auditing.errors import ExportError
from blindproof.auditing.findings import Finding, ReceiptFindings, Report, Status, Subject

FORMAT = "blindproof audit report 1"
VERDICTS = {
    Status.PASSED: "Everything in this file was checked and holds.",
    Status.FAILED: "Something does not hold.",
    Status.NOT_CHECKED: "Everything that was checked holds; not everything was checked.",
}
_MARKS = {Status.PASSED: "ok", Status.FAILED: "FAILED", Status.NOT_CHECKED: "not checked"}
_SECOND_NS = 1_000_000_000
_SHOWN_REASONS = 20


def write_report(report: Report, path: Path) -> None:
    """Write a report in the form that the file's name asks for.

    Raises:
        ExportError: another name than *.html, *.json or *.txt.
        OSError: the file cannot be written.
    """
    require_report_name(path)
    path.write_text(_FORMS[path.suffix](report), encoding="utf-8")


def require_report_name(path: Path) -> None:
    """Refuse a file's name that asks for no form of a report.

    Raises:
        ExportError: another name than *.html, *.json or *.txt.
    """
    if path.suffix not in _FORMS:
        raise ExportError(f"{path}: reports are named *.html, *.json or *.txt")


def as_text(report: Report, *, every: bool = True) -> str:
    """A report in lines.

    Args:
        report: what was found.
        every: whether receipts without fault are listed, too.
    """
    lines = [VERDICTS[report.status], "", *_heading(report), ""]
    lines += [f"  {_finding_line(finding)}" for finding in report.findings]
    lines += ["", f"Receipts: {_counted(one.status for one in report.receipts)}"]
    lines += [f"  {subject}: {counts}" for subject, counts in summary(report)]
    for one in report.receipts:
        if every or one.status is Status.FAILED:
            lines += ["", *_receipt_lines(one)]
    if not every:
        lines += _unchecked_lines(report)
    lines += ["", "What has to be trusted, and by whom:"]
    lines += [f"  - {sentence}" for sentence in report.assumptions]
    return "".join(f"{line}\n" for line in lines)


def as_json(report: Report) -> str:
    """A report for other programs."""
    checkpoint = report.checkpoint
    content = {
        "format": FORMAT,
        "verdict": str(report.status),
        "file": {"sha256": report.sha256.hex(), "size": report.size},
        "log_key": report.log_key.encoded(),
        "checkpoint": checkpoint
        and {"origin": checkpoint.origin, "size": checkpoint.size, "root": checkpoint.root.hex()},
        "findings": [asdict(finding) for finding in report.findings],
        "receipts": [
            {
                "index": one.index,
                "status": str(one.status),
                **(_identity(one.receipt) if one.receipt else {}),
                "findings": [asdict(finding) for finding in one.findings],
            }
            for one in report.receipts
        ],
        "assumptions": list(report.assumptions),
    }
    return json.dumps(content, indent=1) + "\n"


def as_html(report: Report) -> str:
    """A report as one page: no script, and nothing that is loaded from elsewhere."""
    import jinja2

    environment = jinja2.Environment(
        autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    source = resources.files("blindproof.auditing").joinpath("report.html").read_text("utf-8")
    return environment.from_string(source).render(
        report=report,
        verdict=VERDICTS[report.status],
        heading=[line.partition(": ")[::2] for line in _heading(report)],
        counted=_counted(one.status for one in report.receipts),
        summary=list(summary(report)),
        marks=_MARKS,
        time=shown_time,
    )


def summary(report: Report) -> Iterator[tuple[Subject, str]]:
    """How many receipts came to what, for each check that was due."""
    for subject in Subject:
        counts = report.counts(subject)
        if counts:
            yield subject, _counted(counts.elements())


def shown_time(time_ns: int) -> str:
    """The time of a receipt in UTC, to the second."""
    at = datetime.fromtimestamp(time_ns // _SECOND_NS, UTC)
    return f"{at:%Y-%m-%d %H:%M:%S} UTC"


def _heading(report: Report) -> Iterator[str]:
    checkpoint = report.checkpoint
    size = "no checkpoint" if checkpoint is None else f"{checkpoint.size} entries"
    yield f"File: {report.size} bytes, SHA-256 {report.sha256.hex()}"
    yield f"Log: {report.log_key.name}, {size}"
    yield f"Log key: {report.log_key.encoded()}"
    times = [one.receipt.time_ns for one in report.receipts if one.receipt is not None]
    if times:
        yield f"Period: {shown_time(min(times))} to {shown_time(max(times))}"


def _receipt_lines(one: ReceiptFindings) -> Iterator[str]:
    receipt = one.receipt
    if receipt is None:
        yield f"Entry {one.index}"
    else:
        reason = "" if receipt.reason is None else f" ({receipt.reason})"
        yield (
            f"Entry {one.index}: {receipt.receipt_id.hex()}, {shown_time(receipt.time_ns)}, "
            f"{receipt.action} {receipt.outcome}{reason}, {receipt.actor}, {receipt.purpose}"
        )
    for finding in one.findings:
        yield f"  {_finding_line(finding)}"


def _unchecked_lines(report: Report) -> Iterator[str]:
    """What was not checked, each reason once."""
    counts = Counter(
        (finding.subject, finding.detail)
        for one in report.receipts
        for finding in one.findings
        if finding.status is Status.NOT_CHECKED
    )
    if counts:
        yield ""
        yield "Not checked:"
        for (subject, detail), count in counts.most_common(_SHOWN_REASONS):
            yield f"  {subject}, {count} times: {detail}"


def _finding_line(finding: Finding) -> str:
    return f"{_MARKS[finding.status]:<11}  {finding.subject}: {finding.detail}"


def _counted(statuses: Iterable[Status]) -> str:
    counts = Counter(statuses)
    return ", ".join(f"{counts[status]} {status}" for status in Status if counts[status]) or "none"


def _identity(receipt: Receipt) -> dict[str, object]:
    """The receipt itself, as far as a report repeats it."""
    return {
        "receipt_id": receipt.receipt_id.hex(),
        "time": shown_time(receipt.time_ns),
        "time_source": str(receipt.time_source),
        "tenant": receipt.tenant,
        "actor": receipt.actor,
        "purpose": str(receipt.purpose),
        "action": str(receipt.action),
        "outcome": str(receipt.outcome),
        "reason": receipt.reason,
        "model": receipt.digests.model and receipt.digests.model.hex(),
        "soundness_bits": receipt.soundness_bits,
        "error_bound": receipt.error_bound,
    }


_FORMS: dict[str, Callable[[Report], str]] = {
    ".html": as_html,
    ".json": as_json,
    ".txt": as_text,
}
