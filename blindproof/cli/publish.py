"""`blindproof publish`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Unpack

import typer
from rich.console import Console

from blindproof.cli.connection import (
    Authority,
    Certificate,
    CertificateKey,
    Model,
    ServedLogKey,
    Target,
    TokenFile,
)
from protocol.errors import ModelError
from protocol.parameters import Mode, Packing

if TYPE_CHECKING:
    from blindproof.model_file import ModelFile
    from blindproof.network_publishing import NetworkModel
    from blindproof.publishing import LinearModel
    from client_sdk.administration import ConnectionOptions
    from protocol.model import ModelCard


def publish(  # noqa: PLR0917  (a command's options)
    weights: Annotated[Path, typer.Option(help="JSON file of the linear model or network.")],
    models: Annotated[
        Path,
        typer.Option(
            help="Model directory, the server's or with --target your own; made if missing."
        ),
    ],
    precision: Annotated[
        float | None,
        typer.Option(
            help="Bits of precision the answers must have; 16 for a linear model, 14 for a network."
        ),
    ] = None,
    packing: Annotated[
        Packing | None,
        typer.Option(help="For a network: batches, or single records of a shallow one."),
    ] = None,
    records: Annotated[
        int | None,
        typer.Option(min=1, help="For a network: records in a request, to choose the packing by."),
    ] = None,
    allow_rounding: Annotated[
        bool,
        typer.Option(
            "--allow-rounding",
            help="Publish even if rounding the weights to 16 bits changes the model noticeably.",
        ),
    ] = False,
    target: Annotated[
        str | None,
        typer.Option(
            help="Host and port of a server where you have the role 'publish': the model is sent "
            "there too.",
            show_default="the directory is all",
        ),
    ] = None,
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    token_file: TokenFile = None,
    log_key: ServedLogKey = None,
) -> None:
    """Publish a model: quantise, choose parameters, commit, prove the ranges, store.

    The same weights in the same directory give the same digest, and publishing again repairs what
    was damaged.  Clients verify answers of the published model, whose weights are rounded to 16
    bits; how much that changes an output is printed.
    """
    from blindproof.file_errors import naming
    from blindproof.model_file import read_model_file
    from blindproof.plan_tables import cost_lines, profiles_table
    from blindproof.publishing import LinearModel
    from blindproof.tables import plain

    file = read_model_file(weights)
    with naming(weights):
        model = file.model()
        if isinstance(model, LinearModel):
            if packing is not None or records is not None:
                raise ModelError(
                    "a linear model serves every packing of its file: leave the option"
                )
            card, lines = _publish_linear(models, model, file, precision, allow_rounding)
        else:
            card, lines = _publish_network(
                models,
                model,
                mode=file.mode,
                precision=precision,
                packing=packing,
                records=records,
                allow_rounding=allow_rounding,
            )
    console = Console(highlight=False)
    console.print(profiles_table(card))
    for line in cost_lines(card) + lines:
        console.print(plain(line), soft_wrap=True)
    if target is not None:
        receipt = _sent(
            models,
            card.digest,
            target,
            log_key=log_key,
            ca=ca,
            certificate=certificate,
            certificate_key=certificate_key,
            token_file=token_file,
        )
        console.print(plain(f"published at {target}, receipt {receipt}"), soft_wrap=True)
    console.print("digest, for clients to pin:", style="bold")
    console.print(card.digest.hex(), soft_wrap=True)


def withdraw(  # noqa: PLR0917  (a command's options)
    model: Model,
    target: Target,
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    token_file: TokenFile = None,
    log_key: ServedLogKey = None,
) -> None:
    """Withdraw a model from a server where you have the role 'publish'.

    Nobody can ask it any more; receipts, and answers that were given, stay.
    """
    from blindproof.tables import plain
    from client_sdk import withdraw_model

    proven = withdraw_model(
        target,
        model,
        log_key=log_key,
        ca=ca,
        certificate=certificate,
        certificate_key=certificate_key,
        token_file=token_file,
    )
    receipt = proven.signed.receipt.receipt_id.hex()
    line = f"withdrawn from {target}, receipt {receipt}"
    Console(highlight=False).print(plain(line), soft_wrap=True)


def _sent(
    models: Path,
    digest: bytes,
    target: str,
    *,
    log_key: str | None,
    **connection: Unpack[ConnectionOptions],
) -> str:
    """Publish a model of a directory at a server too; returns the receipt's id."""
    from client_sdk import publish_model
    from server.registry import ModelRegistry
    from wire.bundle_file import encode_bundle

    stored = next(model for model in ModelRegistry(models).stored() if model.digest == digest)
    bundle = encode_bundle(stored.parts())
    proven = publish_model(target, bundle, log_key=log_key, **connection)
    return proven.signed.receipt.receipt_id.hex()


def _publish_linear(
    models: Path,
    model: LinearModel,
    file: ModelFile,
    precision: float | None,
    allow_rounding: bool,
) -> tuple[ModelCard, list[str]]:
    from blindproof.publishing import publish_linear, rounding_of
    from fhe_layers.planner import DEFAULT_PRECISION_BITS

    card = publish_linear(
        models,
        model,
        mode=file.mode,
        packings=file.packings,
        precision_bits=DEFAULT_PRECISION_BITS if precision is None else precision,
        allow_rounding=allow_rounding,
    )
    # What the error bounds do not count: answers are those of the rounded weights.
    changes = zip(model.outputs, rounding_of(model).errors.tolist(), strict=True)
    lines = [
        f"rounding the weights changes output '{name}' by at most {change:.2e}"
        for name, change in changes
    ]
    return card, lines


def _publish_network(
    models: Path,
    model: NetworkModel,
    *,
    mode: Mode,
    precision: float | None,
    packing: Packing | None,
    records: int | None,
    allow_rounding: bool,
) -> tuple[ModelCard, list[str]]:
    """In the packing asked for, or the one that is faster for so many records."""
    from blindproof.collapsed_publishing import packing_for_records, publish_collapsed
    from blindproof.network_publishing import publish_network, rounding_of_network
    from fhe_layers.network_planner import DEFAULT_NETWORK_PRECISION_BITS

    wanted = DEFAULT_NETWORK_PRECISION_BITS if precision is None else precision
    lines = []
    if packing is None and records is not None:
        choice = packing_for_records(model, records, mode=mode, precision_bits=wanted)
        packing = choice.packing
        lines.append(choice.reason)
    if packing is Packing.SINGLE:
        card = publish_collapsed(
            models, model, mode=mode, precision_bits=wanted, allow_rounding=allow_rounding
        )
        lines += _collapsed_lines(model, card)
    else:
        card = publish_network(
            models, model, mode=mode, precision_bits=wanted, allow_rounding=allow_rounding
        )
    rounded = rounding_of_network(model)
    changes = zip(model.outputs, rounded.errors.tolist(), rounded.ranges.tolist(), strict=True)
    lines += [
        f"rounding the weights changes output '{name}', of at most {size:.2e}, by at most "
        f"{change:.2e}"
        for name, change, size in changes
    ]
    return card, lines


def _collapsed_lines(model: NetworkModel, card: ModelCard) -> list[str]:
    """What became of the network, and what rounding a second time changes."""
    from blindproof.collapsed_publishing import collapsed_model
    from blindproof.publishing import rounding_of

    changes = zip(model.outputs, rounding_of(collapsed_model(model)).errors.tolist(), strict=True)
    made = (
        f"multiplied out: {len(card.expansion)} monomials of {len(card.features)} features, which "
        "clients compute and send in one ciphertext; "
    )
    if card.mode is Mode.PRIVATE:
        made += "the commitment is to their coefficients"
    else:
        made += "the card lists their coefficients"
    return [
        made,
        *(
            f"rounding the coefficients changes output '{name}' by at most {change:.2e}"
            for name, change in changes
        ),
    ]
