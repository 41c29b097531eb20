"""`blindproof models`."""

from __future__ import annotations

from rich.console import Console

from blindproof.cli.connection import Authority, Certificate, CertificateKey, Target
from blindproof.cli.tables import new_table


def models(
    target: Target,
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
) -> None:
    """List what a server offers.  Unproved: pin a digest you have from its publisher."""
    from client_sdk import list_models

    offered = list_models(target, ca=ca, certificate=certificate, certificate_key=certificate_key)
    table = new_table(f"Models of '{offered.server_id}'", "digest", "name", "mode", "packings")
    for model in offered.models:
        table.add_row(
            model.digest.hex(),
            f"{model.name} {model.version}",
            str(model.mode),
            ", ".join(model.packings),
        )
    Console(highlight=False).print(table)
