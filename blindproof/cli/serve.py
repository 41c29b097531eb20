"""`blindproof serve`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from protocol.parameters import MAX_IDENTITY


def serve(  # noqa: PLR0917  (a command's options)
    config: Annotated[
        Path | None,
        typer.Option(
            envvar="BLINDPROOF_CONFIG",
            help="TOML file of settings; options and variables stand above it.",
            show_default=False,
        ),
    ] = None,
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
            help="Directory of the server's secret, of enrolled keys and of the audit trail, made "
            "if it is missing (required)."
        ),
    ] = None,
    tenant: Annotated[
        str | None,
        typer.Option(
            help="The organisation whose requests are served; requests for another are refused.",
            show_default="default",
        ),
    ] = None,
    time_source: Annotated[
        str | None,
        typer.Option(
            help="Where this machine's time is from, as receipts say it: system, ntp or ptp.",
            show_default="system",
        ),
    ] = None,
    audit_database: Annotated[
        str | None,
        typer.Option(
            help="URL of the database of the audit log, such as postgresql://host/database.",
            show_default="SQLite in the state directory",
        ),
    ] = None,
    audit_archive: Annotated[
        str | None,
        typer.Option(
            help="Where requests and answers are archived: a directory, or s3://bucket/prefix.",
            show_default="in the state directory",
        ),
    ] = None,
    audit_origin: Annotated[
        str | None,
        typer.Option(
            help="Name of the audit log, for those who pin its key.",
            show_default="made from the server's name",
        ),
    ] = None,
    audit_checkpoint: Annotated[
        Path | None,
        typer.Option(
            help="Checkpoint of the audit log that was kept elsewhere: serve only what extends it.",
            show_default="none",
        ),
    ] = None,
    audit_requests_days: Annotated[
        float | None,
        typer.Option(help="Days that requests stay in the archive.", show_default="always"),
    ] = None,
    audit_responses_days: Annotated[
        float | None,
        typer.Option(help="Days that answers stay in the archive.", show_default="always"),
    ] = None,
    audit_witnesses: Annotated[
        Path | None,
        typer.Option(help="File of the witnesses that cosign the log.", show_default="none"),
    ] = None,
    audit_page: Annotated[
        str | None,
        typer.Option(
            help="Host and port of a page that shows the audit trail to who has its token.",
            show_default="no page",
        ),
    ] = None,
    audit_page_token: Annotated[
        Path | None,
        typer.Option(
            help="File of the page's token, made if it is missing.",
            show_default="in the state directory",
        ),
    ] = None,
    metrics: Annotated[
        str | None,
        typer.Option(
            help="Host and port of metrics and health for operators, plain HTTP, such as "
            "127.0.0.1:9464: see `blindproof top`.",
            show_default="none",
        ),
    ] = None,
) -> None:
    """Serve published models over TLS until SIGINT or SIGTERM.

    Each option may be an environment variable instead, such as BLINDPROOF_TLS_KEY for --tls-key,
    and each setting a line of the file of --config.  When certificates or that file change, and on
    SIGHUP, they are read again.
    """
    from server.configuration import Configuration
    from server.main import main

    options: dict[str, Any] = {
        "listen": listen,
        "server_id": server_id,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "tls_client_ca": tls_client_ca,
        "models": models,
        "state": state,
        "tenant": tenant,
        "time_source": time_source,
        "audit_database": audit_database,
        "audit_archive": audit_archive,
        "audit_origin": audit_origin,
        "audit_checkpoint": audit_checkpoint,
        "audit_requests_days": audit_requests_days,
        "audit_responses_days": audit_responses_days,
        "audit_witnesses": audit_witnesses,
        "audit_page": audit_page,
        "audit_page_token": audit_page_token,
        "metrics": metrics,
    }
    given = {name: value for name, value in options.items() if value is not None}
    main(Configuration(config, given))
