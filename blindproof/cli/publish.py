"""`blindproof publish`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from fhe_layers.planner import DEFAULT_PRECISION_BITS


def publish(
    weights: Annotated[Path, typer.Option(help="JSON file of the linear model.")],
    models: Annotated[Path, typer.Option(help="Model directory of the server.")],
    precision: Annotated[
        float, typer.Option(help="Bits of precision the answers must have.")
    ] = DEFAULT_PRECISION_BITS,
) -> None:
    """Publish a linear model: quantise, choose parameters, commit, prove the ranges, store."""
    from blindproof.cli.params import profiles_table
    from blindproof.model_file import read_model_file
    from blindproof.publishing import publish_linear

    file = read_model_file(weights)
    card = publish_linear(
        models, file.model(), mode=file.mode, packings=file.packings, precision_bits=precision
    )
    console = Console(highlight=False)
    console.print(profiles_table(card))
    console.print("digest, for clients to pin:", style="bold")
    console.print(card.digest.hex(), soft_wrap=True)
