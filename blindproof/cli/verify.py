"""`blindproof verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blindproof.tables import key_lines, plain, soundness


def verify(
    evidence: Annotated[Path, typer.Argument(help="File written by `predict --evidence`.")],
    model: Annotated[str, typer.Option(help="Digest of the model, hexadecimal.")],
    key: Annotated[
        str | None,
        typer.Option(
            help="Digest of the client's enrolled key, hexadecimal, as `predict` shows it: what "
            "the evidence must be under.  Without it, any well-made key passes."
        ),
    ] = None,
) -> None:
    """Verify an evidence file offline: no server, no secret."""
    from client_sdk import verify_evidence

    answers = verify_evidence(evidence, model, key)
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
