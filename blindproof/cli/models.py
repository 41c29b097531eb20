"""`blindproof models`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blindproof.cli.tables import new_table


def models(
    target: Annotated[str, typer.Option(help="Host and port of the server.")],
    ca: Annotated[Path | None, typer.Option(help="PEM file of the authority to trust.")] = None,
) -> None:
    """List what a server offers.  Unproved: pin a digest you have from its publisher."""
    from client_sdk import list_models

    offered = list_models(target, ca=ca)
    table = new_table(
        f"Models of '{_printable(offered.server_id)}'", "digest", "name", "mode", "packings"
    )
    for model in offered.models:
        table.add_row(
            model.digest.hex(),
            _printable(f"{model.name} {model.version}"),
            _printable(model.mode),
            _printable(", ".join(model.packings)),
        )
    Console(highlight=False).print(table)


def _printable(text: str) -> str:
    """Text of the server without control characters or markup."""
    from rich.markup import escape

    return escape("".join(character for character in text if character.isprintable()))
