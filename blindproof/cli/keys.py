"""`blindproof keys`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

from blindproof.cli.tables import new_table

if TYPE_CHECKING:
    from client_sdk.keystore import StoreSummary


def keys(
    store: Annotated[Path, typer.Option("--keys", help="Directory of an existing key store.")],
    rotate: Annotated[
        bool,
        typer.Option(
            "--rotate",
            help="First throw the secret and the enrolled keys away; new ones are made when "
            "needed.  Answers under way end under the old ones.",
        ),
    ] = False,
) -> None:
    """Show a key store: identity, values released under its secret, enrolled keys."""
    from client_sdk import KeyStore
    from client_sdk.disclosure import DISCLOSURE_LIMIT

    opened = KeyStore(store, create=False)
    if rotate:
        opened.rotate()
    summary = opened.summary()
    console = Console(highlight=False)
    console.print(f"client id         {summary.client_id}", markup=False, soft_wrap=True)
    console.print(f"values released   {summary.disclosed:,} of {DISCLOSURE_LIMIT:,}")
    console.print(_enrolled(summary))


def _enrolled(summary: StoreSummary) -> Table:
    table = new_table(
        "Enrolled keys, newest first", "digest", "client", "server", "N", "limbs", "public keys"
    )
    for digest, request in summary.enrolled:
        table.add_row(
            digest.hex(),
            request.client_id,
            request.server_id,
            str(request.ring_degree),
            str(len(request.moduli)),
            str(request.keys),
        )
    return table
