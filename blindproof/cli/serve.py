"""`blindproof serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from protocol.parameters import MAX_IDENTITY


def serve(  # noqa: PLR0917  (a command's options)
    listen: Annotated[
        str | None,
        typer.Option(
            help="Host and port; port 0 takes a free one.", show_default="127.0.0.1:50443"
        ),
    ] = None,
    server_id: Annotated[
        str | None,
        typer.Option(
            help="The server's name, bound into every proof and every enrolled key, of at most "
            f"{MAX_IDENTITY} characters.  Clients enrolled under another name enrol again.",
            show_default="blindproof",
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None, typer.Option(help="PEM file of the server's certificate (required).")
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="PEM file of its key, without passphrase (required).")
    ] = None,
    tls_client_ca: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of an authority: only clients with its certificates are served.",
            show_default="everyone is served",
        ),
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Directory that `blindproof publish` wrote models to (required)."),
    ] = None,
    state: Annotated[
        Path | None,
        typer.Option(
            help="Directory of the server's secret and of enrolled keys, made if it is missing "
            "(required)."
        ),
    ] = None,
) -> None:
    """Serve published models over TLS until SIGINT or SIGTERM.

    Each option may be an environment variable instead, such as BLINDPROOF_TLS_KEY for --tls-key.
    """
    from server.main import main
    from server.settings import read_settings

    options: dict[str, Any] = {
        "listen": listen,
        "server_id": server_id,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "models": models,
        "state": state,
    }
    main(read_settings(**{name: value for name, value in options.items() if value is not None}))
