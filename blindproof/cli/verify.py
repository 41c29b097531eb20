"""`blindproof verify`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blindproof.cli.tables import new_table


def verify(
    evidence: Annotated[Path, typer.Argument(help="File written by `predict --evidence`.")],
    model: Annotated[str, typer.Option(help="Digest of the model, hexadecimal.")],
) -> None:
    """Verify an evidence file offline: no server, no secret."""
    from rich.markup import escape

    from client_sdk import verify_evidence

    answers = verify_evidence(evidence, model)
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
            escape(answer.client_id),
            str(answer.packing),
            str(answer.records),
            f"{answer.soundness_bits:.1f} bits",
            f"{answer.output_digest.hex()[:16]}…",
        )
    Console(highlight=False).print(table)
