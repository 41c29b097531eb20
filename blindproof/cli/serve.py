"""`blindproof serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from protocol.errors import BlindproofError


class SettingsError(BlindproofError):
    """A setting is missing or malformed."""


def serve(  # noqa: PLR0917  (a command's options)
    listen: Annotated[str | None, typer.Option(help="Host and port.")] = None,
    server_id: Annotated[str | None, typer.Option(help="Name in every transcript.")] = None,
    tls_certificate: Annotated[Path | None, typer.Option(help="PEM file.")] = None,
    tls_key: Annotated[Path | None, typer.Option(help="PEM file.")] = None,
    tls_client_ca: Annotated[
        Path | None, typer.Option(help="PEM file; demands client certificates.")
    ] = None,
    models: Annotated[Path | None, typer.Option(help="Model directory.")] = None,
    state: Annotated[Path | None, typer.Option(help="State directory.")] = None,
) -> None:
    """Serve published models over TLS.  Options may be given as BLINDPROOF_... variables."""
    from pydantic import ValidationError

    from server.main import main
    from server.settings import ServerSettings

    options: dict[str, Any] = {
        "listen": listen,
        "server_id": server_id,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "models": models,
        "state": state,
    }
    given = {name: value for name, value in options.items() if value is not None}
    try:
        settings = ServerSettings(**given)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(str(part) for part in first["loc"])
        raise SettingsError(f"setting '{name.lower()}': {first['msg'].lower()}") from error
    main(settings)
