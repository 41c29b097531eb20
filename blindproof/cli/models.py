"""`blindproof models`: what a server offers, and what lies in a directory of published models."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.progress import track

from blindproof.cli.connection import Authority, Certificate, CertificateKey, TokenFile
from blindproof.tables import plain, size
from protocol.errors import BlindproofError, EncodingError, ModelError

if TYPE_CHECKING:
    from server.registry import StoredModel
    from wire.bundle_file import BundleParts

Models = Annotated[Path, typer.Option("--models", help="Directory of published models.")]
Chosen = Annotated[
    str, typer.Argument(help="Digest of the model, or its first digits, or a bundle file.")
]

app = typer.Typer(
    help="List, show, verify and carry published models.",
    rich_markup_mode=None,
    invoke_without_command=True,
)


@app.callback()
def offered(  # noqa: PLR0917  (a command's options)
    context: typer.Context,
    target: Annotated[
        str | None, typer.Option(help="List what the server at this host and port offers.")
    ] = None,
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    token_file: TokenFile = None,
) -> None:
    """List what a server offers, unproved; or look into a directory of published models."""
    if context.invoked_subcommand is not None:
        return
    if target is None:
        typer.echo(context.get_help())
        raise typer.Exit
    from client_sdk import list_models

    found = list_models(
        target,
        ca=ca,
        certificate=certificate,
        certificate_key=certificate_key,
        token_file=token_file,
    )
    console = Console(highlight=False)
    console.print(plain(f"Models of '{found.server_id}'"), style="bold", soft_wrap=True)
    if not found.models:
        console.print("none")
    for model in found.models:
        packings = ", ".join(model.packings)
        console.print(model.digest.hex(), soft_wrap=True)  # whole, in a line that can be copied
        console.print(
            plain(f"    {model.name} {model.version}, {model.mode}, {packings}"), soft_wrap=True
        )


@app.command("list")
def list_directory(models: Models) -> None:
    """List the models of a directory, each of them verified."""
    console = Console(highlight=False)
    for stored in track(_stored(models), "verifying", console=Console(stderr=True), transient=True):
        console.print(stored.digest.hex(), soft_wrap=True)
        console.print(plain(f"    {_one_line(stored)}"), soft_wrap=True)


@app.command()
def show(
    chosen: Chosen,
    models: Annotated[
        Path | None, typer.Option("--models", help="Directory of published models.")
    ] = None,
) -> None:
    """Show a model's card: what it is for, its columns, its outputs and its parameters."""
    from blindproof.cli.model_card import card_tables
    from server.bundles import card_of

    console = Console(highlight=False)
    for table in card_tables(card_of(_parts(chosen, models))):
        console.print(table)


@app.command()
def verify(
    chosen: Annotated[
        str | None,
        typer.Argument(help="Digest of the model, or its first digits, or a bundle file; or all."),
    ] = None,
    models: Annotated[
        Path | None, typer.Option("--models", help="Directory of published models.")
    ] = None,
) -> None:
    """Verify models offline: digest, registration proof, and the weights where they are present.

    Exit status 1 if one of them is not what it should be.
    """
    console = Console(highlight=False)
    if chosen is not None:
        parts = _parts(chosen, models)
        _verify(parts)
        console.print(parts.digest.hex(), soft_wrap=True)
        console.print(plain(f"    {_statement(parts)}"), soft_wrap=True)
        return
    if models is None:
        raise ModelError("name a model, a bundle file, or a directory with --models")
    failed = False
    for stored in track(_stored(models), "verifying", console=Console(stderr=True), transient=True):
        try:
            parts = stored.parts()
            _verify(parts)
            statement = _statement(parts)
        except BlindproofError as error:
            failed, statement = True, f"REFUSED: {error}"
        console.print(stored.digest.hex(), soft_wrap=True)
        console.print(plain(f"    {statement}"), soft_wrap=True)
    if failed:
        raise typer.Exit(1)


@app.command()
def export(
    chosen: Chosen,
    output: Annotated[Path, typer.Option(help="File to write, NAME.blindproof.")],
    models: Annotated[
        Path | None, typer.Option("--models", help="Directory of published models.")
    ] = None,
    public: Annotated[
        bool, typer.Option("--public", help="Without the weights: for clients and auditors.")
    ] = False,
) -> None:
    """Write a model to one file, readable by you alone: with its weights it is a secret."""
    from dataclasses import replace

    from wire.bundle_file import SUFFIX, write_bundle

    if output.suffix != SUFFIX:
        raise ModelError(f"{output}: name it *{SUFFIX}, which is what servers look for")
    parts = _parts(chosen, models)
    _verify(parts)
    if not public and parts.private is None:
        raise ModelError(f"{chosen} has no weights: export it with --public")
    write_bundle(output, replace(parts, private=None) if public else parts)
    console = Console(highlight=False)
    console.print(parts.digest.hex(), soft_wrap=True)
    console.print(plain(f"    {size(output.stat().st_size)} in {output}"), soft_wrap=True)


@app.command("import")
def import_bundle(
    file: Annotated[Path, typer.Argument(help="A bundle file.")], models: Models
) -> None:
    """Publish a bundle file in a server's model directory, everything in it verified."""
    from server.bundles import bundle_of
    from server.registry import ModelRegistry

    digest = ModelRegistry(models).publish(bundle_of(_opened(file)))
    Console(highlight=False).print(digest.hex(), soft_wrap=True)


def _stored(models: Path) -> Sequence[StoredModel]:
    """Raises ModelError, StorageError."""
    from server.registry import ModelRegistry

    if not models.is_dir():
        raise ModelError(f"{models}: there is no such directory")
    return ModelRegistry(models).stored()


def _parts(chosen: str, models: Path | None) -> BundleParts:
    """The model of a bundle file, or the only one whose digest begins so.  Raises ModelError."""
    from wire.bundle_file import SUFFIX

    if chosen.endswith(SUFFIX):
        return _opened(Path(chosen))
    if models is None:
        raise ModelError(
            f"say with --models in which directory the model is, or name a bundle file, *{SUFFIX}"
        )
    stored = _stored(models)
    found = [model for model in stored if model.digest.hex().startswith(chosen.lower())]
    if len(found) != 1 or not chosen:
        count = "no model" if not found else f"{len(found)} models"
        raise ModelError(
            f"{count} of the {len(stored)} in {models} {'has' if not found else 'have'} a digest "
            f"that begins with '{chosen[:64]}'"
        )
    return found[0].parts()


def _opened(file: Path) -> BundleParts:
    """A bundle file's parts.  Raises ModelError: it is none."""
    from wire.bundle_file import read_bundle

    try:
        return read_bundle(file)
    except EncodingError as error:
        raise ModelError(f"{file}: not a bundle file, or a damaged one: {error}") from None


def _verify(parts: BundleParts) -> None:
    """Raises BlindproofError."""
    from server.bundles import bundle_of, card_of

    if parts.private is None:
        card_of(parts)
    else:
        bundle_of(parts)


def _statement(parts: BundleParts) -> str:
    """What was verified of a model."""
    from protocol.model import ModelCard
    from protocol.parameters import Mode

    card = ModelCard.decoded(parts.card)
    if card.mode is Mode.PUBLIC:
        proved = "public weights"
    elif parts.private is None:
        proved = "registration proof holds; the weights are not here"
    else:
        proved = "registration proof holds, and the weights are the committed ones"
    return f"{card.name} {card.version}: {proved}"


def _one_line(stored: StoredModel) -> str:
    """A model of a directory."""
    from server.bundles import card_of

    try:
        parts = stored.parts()
        card = card_of(parts)
    except BlindproofError as error:
        return f"REFUSED: {error}"
    packings = ", ".join(str(profile.packing) for profile in card.profiles)
    weights = "" if parts.private else ", without weights"
    licence = f", licence {card.about.licence}" if card.about.licence else ""
    return (
        f"{card.name} {card.version}, {card.mode}, {packings}: {len(card.features)} columns, "
        f"{len(card.outputs)} outputs ({card.link}){licence}{weights}"
    )
