"""Figures as tables: on the terminal, and in docs/performance.md."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from rich.table import Table

from benchmarks.cases import Case
from benchmarks.measuring import Figures

REPORT = Path(__file__).parent.parent / "docs" / "performance.md"
_BEGIN, _END = "<!-- figures: written by `make bench` -->", "<!-- end of figures -->"

_MILLISECONDS = (
    "encrypt_s",
    "expand_s",
    "evaluate_s",
    "sanitise_s",
    "prove_s",
    "verify_s",
    "decrypt_s",
    "exchange_s",
    "tenseal_evaluate_s",
    "tenseal_one_record_s",
    "enrol_s",
)
_KILOBYTES = ("request_bytes", "response_bytes", "proof_bytes")
_PEER = (
    ("prove one record, ms", "ezkl_prove_s", 1e3, 0),
    ("verify, ms", "ezkl_verify_s", 1e3, 1),
    ("proof, KB", "ezkl_proof_bytes", 1e-3, 0),
)
_PLAIN = ("records", "precision_bits", "soundness_bits", "server_peak_mib")

_NOT_MEASURED = "\N{EN DASH}"

Row = tuple[str, list[str]]


def rows(figures: Figures, cases: Sequence[Case]) -> Iterator[Row]:
    """A title and one cell per case; metrics that no case has are left out.

    EZKL's rows are there whenever a case is compared with it, measured or not.
    """
    for metrics, unit, factor, digits in (
        (_MILLISECONDS, ", ms", 1e3, 1),
        (_KILOBYTES, ", KB", 1e-3, 0),
        (_PLAIN, "", 1.0, 1),
    ):
        for metric in metrics:
            values = [figures.get(f"{case.name}.{metric}") for case in cases]
            if any(value is not None for value in values):
                title = metric.removesuffix("_s").removesuffix("_bytes").replace("_", " ")
                cells = [
                    "" if value is None else f"{factor * value:.{digits}f}" for value in values
                ]
                yield title + unit, cells
    if any(case.peer for case in cases):
        for title, metric, factor, digits in _PEER:
            values = [figures.get(f"{case.name}.{metric}") for case in cases]
            cells = [
                _NOT_MEASURED if value is None else f"{factor * value:.{digits}f}"
                for value in values
            ]
            yield f"EZKL, plaintext model: {title}", cells


def terminal_tables(figures: Figures, cases: Sequence[Case]) -> Iterator[Table]:
    """Linear models, then networks."""
    for title, chosen in _groups(cases):
        table = Table(title=f"{title}: medians")
        table.add_column("")
        for case in chosen:
            table.add_column(case.name, justify="right")
        for label, cells in rows(figures, chosen):
            table.add_row(label, *cells)
        yield table


def sentences(figures: Figures) -> Iterator[str]:
    """What has no table."""
    for name in ("enrolment", "registration"):
        prove, verify = (1e3 * figures[f"{name}.{phase}_s"] for phase in ("prove", "verify"))
        size = figures[f"{name}.proof_bytes"] / 1e3
        yield (
            f"{name.capitalize()} of the linear model: prove {prove:.0f} ms, verify {verify:.0f} "
            f"ms, {size:.0f} KB."
        )
    yield f"`import client_sdk` takes {figures['client_sdk.import_s']:.2f} s."
    if "cnn_private.full_batch_s" in figures:
        seconds = figures["cnn_private.full_batch_s"]
        images = figures["cnn_private.full_batch_records"]
        yield (
            f"A full batch of {images:.0f} images through the private CNN takes {seconds:.1f} s "
            f"from raw pixels to verified scores, {1000 * seconds / images:.2f} ms each."
        )
    if "server.publish_and_start_s" in figures:
        started = figures["server.publish_and_start_s"]
        yield f"Publishing two linear models and starting a server takes {started:.2f} s."


def write_report(figures: Figures, cases: Sequence[Case]) -> None:
    """Put the figures into docs/performance.md."""
    lines: list[str] = []
    for title, chosen in _groups(cases):
        names = " | ".join(case.name for case in chosen)
        lines += ["", f"| {title} | {names} |", "|---|" + "---:|" * len(chosen)]
        lines += [f"| {label} | {' | '.join(cells)} |" for label, cells in rows(figures, chosen)]
    for sentence in sentences(figures):
        lines += ["", sentence]
    before, rest = REPORT.read_text().split(_BEGIN)
    _, after = rest.split(_END)
    text = "\n".join([*lines, ""])
    REPORT.write_text(f"{before}{_BEGIN}\n{text}\n{_END}{after}")


def _groups(cases: Sequence[Case]) -> Iterator[tuple[str, list[Case]]]:
    for title, network in (("linear models", False), ("networks", True)):
        chosen = [case for case in cases if case.network is network]
        if chosen:
            yield title, chosen
