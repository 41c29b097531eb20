"""`blindproof verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blindproof.cli.tables import key_names, new_table


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
    table = new_table(
        "The pinned model gave these outputs for these ciphertexts",
        "request",
        "client",
        "packing",
        "records",
        "soundness",
        "outputs digest",
    )
    for answer in answers:
        table.add_row(
            answer.request_id.hex(),
            answer.client_id,
            str(answer.packing),
            str(answer.records),
            f"{answer.soundness_bits:.1f} bits",
            f"{answer.output_digest.hex()[:16]}…",
        )
    console = Console(highlight=False)
    console.print(table)
    digests = tuple(dict.fromkeys(answer.key_digest for answer in answers))
    console.print(f"  under the key {key_names(digests)}", soft_wrap=True)
    if key is None and any(map(any, digests)):
        console.print("  not compared with the client's: give its digest as --key", soft_wrap=True)
