"""`blindproof publish`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from fhe_layers.planner import DEFAULT_PRECISION_BITS

if TYPE_CHECKING:
    from blindproof.publishing import LinearModel


def publish(
    weights: Annotated[Path, typer.Option(help="JSON file of the linear model.")],
    models: Annotated[
        Path, typer.Option(help="Model directory of the server; made if it is missing.")
    ],
    precision: Annotated[
        float, typer.Option(help="Bits of precision the answers must have.")
    ] = DEFAULT_PRECISION_BITS,
    allow_rounding: Annotated[
        bool,
        typer.Option(
            "--allow-rounding",
            help="Publish even if rounding the weights to 16 bits changes the model noticeably.",
        ),
    ] = False,
) -> None:
    """Publish a linear model: quantise, choose parameters, commit, prove the ranges, store.

    The same weights in the same directory give the same digest, and publishing again repairs what
    was damaged.  Clients verify answers of the published model, whose weights are rounded to 16
    bits; how much that changes an output is printed.
    """
    from blindproof.cli.params import profiles_table
    from blindproof.cli.tables import plain
    from blindproof.model_file import read_model_file
    from blindproof.publishing import publish_linear

    file = read_model_file(weights)
    model = file.model()
    card = publish_linear(
        models,
        model,
        mode=file.mode,
        packings=file.packings,
        precision_bits=precision,
        allow_rounding=allow_rounding,
    )
    console = Console(highlight=False)
    console.print(profiles_table(card))
    for line in _rounding_lines(model):
        console.print(plain(line), soft_wrap=True)
    console.print("digest, for clients to pin:", style="bold")
    console.print(card.digest.hex(), soft_wrap=True)


def _rounding_lines(model: LinearModel) -> list[str]:
    """What the error bounds do not count: answers are those of the rounded weights."""
    from blindproof.publishing import rounding_of

    changes = zip(model.outputs, rounding_of(model).errors.tolist(), strict=True)
    return [
        f"rounding the weights changes output '{name}' by at most {change:.2e}"
        for name, change in changes
    ]
