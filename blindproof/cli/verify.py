"""`blindproof verify`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from blindproof.cli.connection import WitnessFile
from blindproof.tables import key_lines, plain, soundness
from protocol.errors import InputError

if TYPE_CHECKING:
    from client_sdk import VerifiedAnswer


def verify(  # noqa: PLR0917  (a command's options)
    evidence: Annotated[Path, typer.Argument(help="File written by `predict --evidence`.")],
    model: Annotated[str, typer.Option(help="Digest of the model, hexadecimal.")],
    key: Annotated[
        str | None,
        typer.Option(
            help="Digest of the client's enrolled key, hexadecimal, as `predict` shows it: what "
            "the evidence must be under.  Without it, any well-made key passes."
        ),
    ] = None,
    receipts: Annotated[
        list[Path] | None,
        typer.Option(
            "--receipt",
            help="File written by `predict --receipt`, which must be of an answer in the "
            "evidence; may be given several times.",
        ),
    ] = None,
    log_key: Annotated[
        str | None,
        typer.Option(help="Verifier key of the audit log, from its operator: with --receipt."),
    ] = None,
    witnesses: WitnessFile = None,
) -> None:
    """Verify an evidence file offline, and receipts of it: no server, no secret."""
    from client_sdk import verify_evidence

    if bool(receipts) != (log_key is not None):
        raise InputError("--receipt and --log-key are given together, or neither")
    answers = verify_evidence(evidence, model, key)
    recorded = [_recorded(path, log_key, witnesses, answers) for path in receipts or ()]
    console = Console(highlight=False)
    console.print("The pinned model gave these outputs for these ciphertexts", style="bold")
    for answer in answers:
        records = "1 record" if answer.records == 1 else f"{answer.records} records"
        for line in (  # digests whole, each in a line that can be copied
            f"  request {answer.request_id.hex()}",
            f"    of '{answer.client_id}': {records}, {answer.packing}",
            f"    soundness: {soundness(answer.soundness_bits)}",
            f"    outputs digest {answer.output_digest.hex()}",
        ):
            console.print(plain(line), soft_wrap=True)
    digests = tuple(dict.fromkeys(answer.key_digest for answer in answers))
    for line in key_lines(digests):
        console.print(line, soft_wrap=True)
    if key is None and any(map(any, digests)):
        console.print("  not compared with the client's: give its digest as --key", soft_wrap=True)
    for line in recorded:
        console.print(plain(line), soft_wrap=True)


def _recorded(
    path: Path, log_key: str | None, witnesses: Path | None, answers: tuple[VerifiedAnswer, ...]
) -> str:
    """Verify a receipt, and that it is of one of the answers; what it adds to them.

    Raises:
        AuditError: it is not.
    """
    from audit.errors import ReceiptMismatchError
    from client_sdk import verify_receipt

    verified = verify_receipt(path, log_key or "", witnesses=witnesses)
    receipt = verified.receipt
    for answer in answers:
        if answer.request_id == receipt.request_id:
            answer.require_receipt(receipt)
            return (
                f"  receipt {receipt.receipt_id.hex()}, entry {verified.index} of the log "
                f"'{verified.checkpoint.origin}': request {receipt.request_id.hex()}, "
                f"{receipt.purpose}, on behalf of '{receipt.tenant}'"
            )
    raise ReceiptMismatchError(
        f"{path} is the receipt of the request {receipt.request_id.hex()}, which is not in the "
        "evidence"
    )
