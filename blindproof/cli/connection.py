"""The options of commands that talk to a server, and what they have in common."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer

from protocol.accountability import DEFAULT_PURPOSE, DEFAULT_TENANT

if TYPE_CHECKING:
    from client_sdk import Client

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
TokenFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        envvar="BLINDPROOF_TOKEN_FILE",
        help="File of a bearer token, for a server that knows its clients by one; read again "
        "before each call.",
        show_default=False,
    ),
]
ClientId: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The name keys and proofs are bound to on your side; else the subject of the token, "
        "the common name of --certificate, or the one drawn with the key store."
    ),
]
ServerId: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The name the server must go by (its setting server_id): keys and proofs are bound "
        "to it, so that none serves at another server.  Else what it calls itself, over TLS."
    ),
]
MaxMemory: TypeAlias = Annotated[
    int,
    typer.Option(
        min=1,
        help="MiB which enrolment or one request may take, as the model's card has it; a model "
        "that takes more is refused before anything is sent.",
    ),
]
DEFAULT_MAX_MEMORY = 4096
Tenant: TypeAlias = Annotated[
    str, typer.Option(help="The organisation on whose behalf it is asked, as receipts have it.")
]
Actor: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="The account or device that asks, no person's name; else what --client-id is as a "
        "token."
    ),
]
Purpose: TypeAlias = Annotated[
    str, typer.Option(help="Why: a code of HL7 v3 PurposeOfUse, such as TREAT.")
]
LogKey: TypeAlias = Annotated[
    str | None,
    typer.Option(
        help="Verifier key of the server's audit log, from its operator; else the one the log was "
        "first met with."
    ),
]
ServedLogKey: TypeAlias = Annotated[
    str | None,
    typer.Option(
        "--log-key",
        help="Verifier key of your tenant's audit log, from the server's operator; else the one "
        "the server says, over TLS.",
    ),
]
"""As `LogKey`, without a key store that remembers one."""
WitnessFile: TypeAlias = Annotated[
    Path | None,
    typer.Option(
        "--witnesses",
        help="Policy file: as many witnesses as it says must have signed the log that holds the "
        "receipt.",
    ),
]


@contextmanager
def connected(
    target: str,
    model: str,
    keys: Path,
    *,
    ca: Path | None,
    certificate: Path | None,
    certificate_key: Path | None,
    token_file: Path | None,
    client_id: str | None,
    server_id: str | None,
    max_memory: int,
    tenant: str = DEFAULT_TENANT,
    actor: str | None = None,
    purpose: str = DEFAULT_PURPOSE,
    log_key: str | None = None,
    witnesses: Path | None = None,
) -> Iterator[Client]:
    """A client of these options, whose work is shown on a terminal once it takes long."""
    from client_sdk import Client, KeyStore
    from client_sdk.progress import PhaseProgress

    store = KeyStore(keys)  # may ask for its passphrase: before anything is drawn
    with (
        PhaseProgress() as progress,
        Client(
            target,
            model=model,
            keys=store,
            ca=ca,
            certificate=certificate,
            certificate_key=certificate_key,
            token_file=token_file,
            client_id=client_id,
            server_id=server_id,
            max_memory_bytes=max_memory << 20,
            tenant=tenant,
            actor=actor,
            purpose=purpose,
            log_key=log_key,
            witnesses=witnesses,
            observer=progress.begin,
            meter=progress.advance,
        ) as client,
    ):
        yield client
