"""`blindproof demo`."""

from __future__ import annotations

import logging
import time
from typing import TYPE_CHECKING

import structlog
from rich.console import Console
from rich.table import Table

from blindproof.tables import milliseconds, new_table, size
from protocol.errors import BlindproofError

if TYPE_CHECKING:
    from blindproof.demo.answers import HonestAnswer
    from blindproof.demo.audit_trail import Audit
    from blindproof.demo.story import Outcome


_ABOUT_ERRORS = (
    "Errors are against the published model, whose weights are rounded to 16 bits;",
    "the difference to the model as it was trained contains that rounding.",
    "Logistic regression and MLP 30-64-1 on breast-cancer data, CNN on digits of 8 x 8 pixels.",
    "TenSEAL's time is its evaluation of one record, by the same network, with no proof.",
)
_ABOUT_REFUSALS = (
    "A wrong answer came with the best proof its sender could make for it. The replayed one came",
    "with a true proof, but of an earlier request: challenges follow from a request's nonce, so",
    "that other columns are to be opened now, which the proof's size alone may show.",
    "The secret key never met any of them.",
)
_ABOUT_AUDIT = (
    "Every answer leaves a receipt in an append-only log. An auditor has the exported file and the",
    "log's public key, no secret and no server, and verifies every proof again. In the altered",
    "files all checksums were made to fit. 'blindproof audit verify' does this to any export.",
)


def demo() -> None:
    """Encrypt, predict, prove, verify, decrypt; then watch forgeries refused, and audit it all."""
    console = Console(highlight=False)
    started = time.perf_counter()

    def report(step: str) -> None:
        console.print(f"[dim]{time.perf_counter() - started:5.1f} s[/dim]  {step}")

    report("loading")
    try:
        from blindproof.demo.story import play

        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING))
        outcome = play(report)
    except ModuleNotFoundError as error:
        raise BlindproofError(
            f"the demonstration needs {error.name}: install 'blindproof[demo]'"
        ) from error
    report("done")
    console.print()
    console.print(_answers(outcome))
    digests = (f"{card.name}: {card.digest.hex()}" for card in outcome.cards)
    for line in (*digests, *_ABOUT_ERRORS):
        console.print(f"  {line}", soft_wrap=True)
    console.print()
    console.print(_refusals(outcome))
    for line in _ABOUT_REFUSALS:
        console.print(f"  {line}", soft_wrap=True)
    console.print()
    console.print(_receipt(outcome.audit))
    console.print(_audited(outcome.audit))
    for line in _ABOUT_AUDIT:
        console.print(f"  {line}", soft_wrap=True)


def _answers(outcome: Outcome) -> Table:
    """The honest round trips, one column each."""
    table = new_table(
        "Encrypted predictions, verified before decryption",
        "",
        *(answer.title for answer in outcome.answers),
    )
    columns = [_cells(answer) for answer in outcome.answers]
    for label in columns[0]:
        table.add_row(label, *(column[label] for column in columns))
    table.add_section()
    blank = [""] * (len(outcome.answers) - 1)
    table.add_row("server start to healthy", f"{outcome.server_start_seconds:.2f} s", *blank)
    # Batch and single record of the linear model share their keys.
    linear, *others = (f"{seconds:.2f} s" for seconds in outcome.enrolment_seconds)
    table.add_row("enrolment, once per key", linear, "", *others)
    return table


def _cells(answer: HonestAnswer) -> dict[str, str]:
    """What the table says of one round trip."""
    result, timings = answer.result, answer.result.timings
    return {
        "records": str(len(result.values)),
        "accuracy, encrypted": f"{answer.accuracy:.1%}",
        "accuracy, plaintext model": f"{answer.plaintext_accuracy:.1%}",
        "labels equal on every record": "yes" if answer.same_labels else "NO",
        "largest error": f"{answer.largest_error:.2e}",
        "difference to the trained model": f"{answer.plaintext_distance:.2e}",
        "proved error bound": f"{result.error_bound:.2e}",
        "precision": f"{result.precision_bits:.1f} bits",
        "soundness": f"{result.soundness_bits:.1f} bits",
        "request": size(result.sent_bytes),
        "response": size(result.received_bytes),
        "of it, proof": size(len(result.proof)),
        "encrypt": milliseconds(timings.encrypt),
        "evaluate (server's account)": milliseconds(
            timings.server.evaluate + timings.server.sanitise
        ),
        "prove (server's account)": milliseconds(timings.server.prove),
        "verify": milliseconds(timings.verify),
        "decrypt": milliseconds(timings.decrypt),
        "TenSEAL, one record, unverified": (
            "" if answer.unverified_seconds is None else milliseconds(answer.unverified_seconds)
        ),
    }


def _refusals(outcome: Outcome) -> Table:
    table = new_table(
        "A cheating server", "what it sent", "to", "refused by the check", "decryptions"
    )
    for refused in outcome.refused:
        table.add_row(str(refused.cheat), refused.asked, refused.check, str(refused.decryptions))
    return table


def _receipt(audit: Audit) -> Table:
    """What the client of the first answer keeps."""
    from audit.checkpoint import Checkpoint
    from blindproof.auditing.rendering import shown_time

    proven = audit.receipt
    receipt = proven.signed.receipt
    table = new_table("The receipt of the first answer", "", "")
    size_of_log = Checkpoint.from_text(proven.checkpoint.text).size
    for label, value in (
        ("receipt", receipt.receipt_id.hex()),
        ("time", shown_time(receipt.time_ns)),
        ("model", (receipt.digests.model or b"").hex()),
        ("asked by, and why", f"{receipt.actor}, {receipt.purpose}"),
        ("outcome", str(receipt.outcome)),
        ("entry of the log", f"{proven.index}, of {size_of_log} at that time"),
        ("signed by", "the server" if proven.signed.client is None else "the server, the client"),
    ):
        table.add_row(label, value)
    return table


def _audited(audit: Audit) -> Table:
    """What the auditor found."""
    table = new_table(
        f"The trail of {audit.receipts} receipts, verified offline from a file of "
        f"{size(audit.size)} in {audit.seconds:.1f} s",
        "checked",
        "result",
    )
    for subject, count in audit.passed.items():
        table.add_row(subject, f"{count} verified")
    table.add_section()
    for refused in audit.refused:
        table.add_row(f"altered: {refused.alteration}", f"refused: {refused.complaint}")
    return table
