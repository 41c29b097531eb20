"""The options of commands that talk to a server, and what they have in common."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, TypeAlias

import typer

Target: TypeAlias = Annotated[str, typer.Option(help="Host and port of the server.")]
Model: TypeAlias = Annotated[
    str, typer.Option(help="Digest of the model, hexadecimal: what is pinned.")
]
Keys: TypeAlias = Annotated[
    Path, typer.Option(help="Directory of the key store; made if missing.", show_default=False)
]
Authority: TypeAlias = Annotated[
    Path | None, typer.Option(help="PEM file of the authority to trust; else the system's.")
]
Certificate: TypeAlias = Annotated[
    Path | None,
    typer.Option(help="Your own PEM certificate, for a server that asks clients for one."),
]
CertificateKey: TypeAlias = Annotated[
    Path | None, typer.Option(help="PEM file of the key of --certificate.")
]
ClientId: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The name keys and proofs are bound to on your side; else the common name of "
        "--certificate, or the one drawn with the key store."
    ),
]
ServerId: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The name the server must go by (its setting server_id): keys and proofs are bound "
        "to it, so that none serves at another server.  Else what it calls itself, over TLS."
    ),
]
