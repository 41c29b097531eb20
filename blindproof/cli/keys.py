"""`blindproof keys`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from blindproof.tables import plain


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
    forget_log: Annotated[
        str | None,
        typer.Option(
            metavar="HOST:PORT",
            help="First forget the audit log of a server and how far it was verified: only if its "
            "operator says that the log was lost or restored, since the server is held to nothing "
            "that it has shown before.",
        ),
    ] = None,
    erase_pseudonyms: Annotated[
        str | None,
        typer.Option(
            metavar="TENANT",
            help="First destroy the key of a tenant's pseudonyms: no receipt can be linked to its "
            "subject any more, and all verify as before.",
        ),
    ] = None,
) -> None:
    """Show a key store: identity, what was disclosed under its secret, enrolled keys."""
    from client_sdk import KeyStore
    from client_sdk.disclosure import DISCLOSURE_LIMIT
    from protocol.errors import KeyStoreError

    opened = KeyStore(store, create=False)
    if rotate:
        opened.rotate()
    if forget_log is not None:
        opened.forget_log(forget_log)
    if erase_pseudonyms is not None and not opened.erase_pseudonyms(erase_pseudonyms):
        raise KeyStoreError(f"this store has no pseudonyms of tenant '{erase_pseudonyms}'")
    summary = opened.summary()
    console = Console(highlight=False)
    console.print(f"client id         {summary.client_id}", markup=False, soft_wrap=True)
    public = opened.receipt_key().public.hex()  # auditors ask for it as the client's key
    console.print(f"signs receipts    {public}", soft_wrap=True)
    # A value of a linear model takes one unit, of a network what its card's noise leaves open.
    console.print(f"disclosed         {summary.disclosed:,} of {DISCLOSURE_LIMIT:,} units")
    console.print("enrolled keys, newest first", style="bold")
    for digest, request in summary.enrolled:
        console.print(digest.hex(), soft_wrap=True)  # whole, in a line that can be copied
        console.print(
            plain(
                f"    of '{request.client_id}' at '{request.server_id}': {request.keys} public "
                f"keys, N = {request.ring_degree}, {len(request.moduli)} limbs"
            ),
            soft_wrap=True,
        )
