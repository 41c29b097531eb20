"""`blindproof enrol`."""

from __future__ import annotations

import typer

from blindproof.cli.connection import (
    DEFAULT_MAX_MEMORY,
    Authority,
    Certificate,
    CertificateKey,
    ClientId,
    Keys,
    MaxMemory,
    Model,
    ServerId,
    Target,
    TokenFile,
    connected,
)


def enrol(  # noqa: PLR0917  (a command's options)
    target: Target,
    model: Model,
    keys: Keys,
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    token_file: TokenFile = None,
    client_id: ClientId = None,
    server_id: ServerId = None,
    max_memory: MaxMemory = DEFAULT_MAX_MEMORY,
) -> None:
    """Enrol fresh public keys for a private model and print their digest.

    `predict` enrols by itself when the key store has no key that fits.  This is for doing it
    beforehand, or again after a server lost its keys.
    """
    with connected(
        target,
        model,
        keys,
        ca=ca,
        certificate=certificate,
        certificate_key=certificate_key,
        token_file=token_file,
        client_id=client_id,
        server_id=server_id,
        max_memory=max_memory,
    ) as client:
        digest = client.enrol()
    typer.echo(digest.hex())
