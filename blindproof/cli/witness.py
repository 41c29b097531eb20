"""`blindproof witness`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

app = typer.Typer(
    help="See that audit logs only grow, and cosign their checkpoints.", no_args_is_help=True
)

_State = Annotated[Path, typer.Option(help="Directory of the witness's keys and memory.")]


@app.command("keys")
def keys(
    state: _State,
    name: Annotated[
        str | None,
        typer.Option(
            help="Name of a new witness, a URL without its scheme: makes its keys and its memory, "
            "once.",
            show_default=False,
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            help="Where logs reach the witness, such as https://witness.example; put into the "
            "entry.",
            show_default=False,
        ),
    ] = None,
    bls: Annotated[
        bool, typer.Option(help="With a key for signatures that can be aggregated.")
    ] = True,
) -> None:
    """Print a witness's entry for policy files; with --name, make its keys first."""
    from audit.witness_policy import encode_witness, require_url
    from witness.keys import WitnessKeys, make_state, read_keys

    if url is not None:
        require_url(url)
    if name is not None:
        make_state(state, WitnessKeys.generate(name, bls=bls))
    typer.echo(encode_witness(read_keys(state).entry(url)), nl=False)


@app.command("policy")
def policy(
    entries: Annotated[
        list[Path], typer.Argument(help="Files that `blindproof witness keys` printed.")
    ],
    threshold: Annotated[int, typer.Option(help="How many of these witnesses must sign.")],
) -> None:
    """Print a policy file for clients, servers and auditors.

    Two histories of a log can both be cosigned only if 2 * threshold - n of the n witnesses break
    their word: a threshold up to half of them excludes nothing.
    """
    from audit.cosignature import WitnessPolicy
    from audit.errors import AuditError, PolicyError
    from audit.witness_policy import MAX_FILE_BYTES, decode_witness, encode_policy
    from wire.files import read_bounded

    witnesses = []
    for path in entries:
        try:
            witness = decode_witness(read_bounded(path, MAX_FILE_BYTES))
            if witness.bls is not None:
                witness.bls.require_possession()
        except AuditError as error:
            raise PolicyError(f"{path}: {error}") from error
        witnesses.append(witness)
    typer.echo(encode_policy(WitnessPolicy(tuple(witnesses), threshold)), nl=False)
    if 2 * threshold <= len(witnesses):
        typer.echo(
            f"warning: {threshold} of {len(witnesses)} witnesses can sign one history and the "
            "others another",
            err=True,
        )


@app.command("serve")
def serve(  # noqa: PLR0917  (a command's options)
    state: Annotated[
        Path | None, typer.Option(help="Directory that `blindproof witness keys` made (required).")
    ] = None,
    log: Annotated[
        list[str] | None,
        typer.Option(
            help="Verifier key of a log to watch; once for each (required).", show_default=False
        ),
    ] = None,
    listen: Annotated[
        str | None,
        typer.Option(
            help="Host and port; port 0 takes a free one.", show_default="127.0.0.1:50480"
        ),
    ] = None,
    tls_certificate: Annotated[
        Path | None,
        typer.Option(
            help="PEM file of the witness's certificate.", show_default="none: loopback only"
        ),
    ] = None,
    tls_key: Annotated[
        Path | None, typer.Option(help="PEM file of its key, without passphrase.")
    ] = None,
    address_file: Annotated[
        Path | None, typer.Option(help="File to write the URL to.", show_default=False)
    ] = None,
) -> None:
    """Cosign checkpoints until SIGINT or SIGTERM.

    Each option may be an environment variable instead, such as BLINDPROOF_WITNESS_STATE for
    --state; the logs are a JSON list in BLINDPROOF_WITNESS_LOGS.
    """
    from witness.main import main
    from witness.settings import read_settings

    options: dict[str, Any] = {
        "state": state,
        "logs": tuple(log) if log else None,
        "listen": listen,
        "tls_certificate": tls_certificate,
        "tls_key": tls_key,
        "address_file": address_file,
    }
    main(read_settings(**{name: value for name, value in options.items() if value is not None}))
