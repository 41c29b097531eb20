"""`blindproof models`."""

from __future__ import annotations

from rich.console import Console

from blindproof.cli.connection import Authority, Certificate, CertificateKey, Target
from blindproof.cli.tables import plain


def models(
    target: Target,
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
) -> None:
    """List what a server offers.  Unproved: pin a digest you have from its publisher."""
    from client_sdk import list_models

    offered = list_models(target, ca=ca, certificate=certificate, certificate_key=certificate_key)
    console = Console(highlight=False)
    console.print(plain(f"Models of '{offered.server_id}'"), style="bold", soft_wrap=True)
    for model in offered.models:
        packings = ", ".join(model.packings)
        console.print(model.digest.hex(), soft_wrap=True)  # whole, in a line that can be copied
        console.print(
            plain(f"    {model.name} {model.version}, {model.mode}, {packings}"), soft_wrap=True
        )
