"""`blindproof compile`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from protocol.errors import ParameterError
from protocol.parameters import Mode

if TYPE_CHECKING:
    from blindproof.cli.record_file import RecordFile

Columns = dict[str, list[Any]]


def compile_model(  # noqa: PLR0917  (a command's options)
    model: Annotated[
        Path,
        typer.Argument(help="ONNX file, XGBoost's JSON, or a model file (docs/model-file.md)."),
    ],
    sample: Annotated[
        Path,
        typer.Option(help="CSV or Parquet table of records like those that will be asked about."),
    ],
    target: Annotated[
        str | None, typer.Option(help="Column of the sample with the truth, to measure accuracy.")
    ] = None,
    models: Annotated[
        Path | None,
        typer.Option(help="Model directory to publish in; without it nothing is published."),
    ] = None,
    explain: Annotated[
        bool, typer.Option("--explain/--no-explain", help="Show the whole report.")
    ] = True,
    plot: Annotated[
        Path | None, typer.Option(help="Draw precision against cost: PNG, SVG or PDF.")
    ] = None,
    save: Annotated[
        Path | None,
        typer.Option(help="Write a model file, weights in the clear, for `blindproof publish`."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Of the model, for people.")] = None,
    version: Annotated[str | None, typer.Option(help="Of the model, for people.")] = None,
    purpose: Annotated[str | None, typer.Option(help="Of the model, for people.")] = None,
    intended_use: Annotated[str, typer.Option(help="What it is for, and what not.")] = "",
    training_data: Annotated[str, typer.Option(help="What it was trained on.")] = "",
    licence: Annotated[str, typer.Option(help="Terms of use, such as an SPDX identifier.")] = "",
    mode: Annotated[
        Mode | None, typer.Option(help="Hidden or published weights; private if not given.")
    ] = None,
    precision: Annotated[
        float | None,
        typer.Option(help="Bits of precision wanted; 16 for a linear model, 14 for a network."),
    ] = None,
    packing: Annotated[
        str | None,
        typer.Option(
            help="batch, single or auto; both for a linear model, batch for a network if not given."
        ),
    ] = None,
    records: Annotated[
        int, typer.Option(min=1, help="Records that come together, for --packing auto.")
    ] = 1,
    margin: Annotated[
        float, typer.Option(help="Share of a column's width that its range gets on either side.")
    ] = 0.25,
    ranges: Annotated[
        list[str] | None,
        typer.Option("--range", help="Range of a column, as age=0:120; may be repeated."),
    ] = None,
    measured_in: Annotated[
        list[str] | None,
        typer.Option(help="What a column is measured in, as age=years; may be repeated."),
    ] = None,
    plaintext: Annotated[
        list[str] | None,
        typer.Option(help="Column that the server may see; may be repeated."),
    ] = None,
    local: Annotated[
        list[str] | None,
        typer.Option(help="Column that clients keep and models do not read; may be repeated."),
    ] = None,
    edges: Annotated[
        int | None,
        typer.Option(help="Comparisons for each column of a model of trees; as few as will do."),
    ] = None,
    show_thresholds: Annotated[
        bool,
        typer.Option(
            "--show-thresholds",
            help="Compare with the trees' own thresholds, which are then public: nothing is lost.",
        ),
    ] = False,
    activation_degree: Annotated[
        int | None,
        typer.Option(help="Replace ReLU, sigmoid and tanh by polynomials of degree 2, 3 or 4."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(help="Name of a class, in the order of the model; repeated for each."),
    ] = None,
    link: Annotated[
        str | None, typer.Option(help="What outputs are, if the model does not say: softmax, ...")
    ] = None,
    allow_loss: Annotated[
        bool,
        typer.Option("--allow-loss", help="Go on if the integer model is noticeably worse."),
    ] = False,
) -> None:
    """Prepare a trained model for encrypted predictions: calibrate, quantise, plan, simulate.

    Says what becomes of every part of the model, how accurate it stays, what parameters it gets and
    what a request will cost.  With --models it is published too.
    """
    from blindproof.compiling import compile as compile_it
    from blindproof.explaining import explain_to
    from blindproof.tables import plain
    from protocol.about import About

    progress = Console(stderr=True, highlight=False)
    started = time.perf_counter()

    def report(step: str) -> None:
        progress.print(plain(f"{time.perf_counter() - started:5.1f} s  {step}"), style="dim")

    said = About(intended_use=intended_use, training_data=training_data, licence=licence)
    report("reading the sample")
    compiled = compile_it(
        model,
        sample_columns(sample),
        target=target,
        name=name,
        version=version,
        purpose=purpose,
        about=None if said == About() else said,
        mode=mode,
        precision_bits=precision,
        packing=packing,
        records=records,
        margin=margin,
        ranges=dict(_range(text) for text in ranges or ()),
        measured_in=dict(_named(text, "--measured-in age=years") for text in measured_in or ()),
        plaintext=plaintext or (),
        local=local or (),
        edges=edges,
        show_thresholds=show_thresholds,
        activation_degree=activation_degree,
        labels=label or None,
        link=link,
        allow_loss=allow_loss,
        progress=report,
    )
    console = Console(highlight=False)
    if explain:
        explain_to(compiled, console)
    else:
        console.print(plain(repr(compiled)), soft_wrap=True)
    if plot is not None:
        report(f"drawing {plot}")
        compiled.plot(plot)
    if save is not None:
        compiled.save(save)
        report(f"wrote {save}, which holds the weights")
    if models is None:
        console.print("not published; --models says where to")
        return
    report("committing to the weights and proving their ranges")
    card = compiled.publish(models)
    console.print("digest, for clients to pin:", style="bold")
    console.print(card.digest.hex(), soft_wrap=True)


def sample_columns(path: Path) -> Columns:
    """A table by columns: numbers, texts, None for an empty cell.

    Raises:
        InputError: it cannot be read.
        MissingPackageError: a Parquet file, and pyarrow is not installed.
    """
    from blindproof.cli.parquet_file import is_parquet, read_parquet
    from blindproof.cli.record_file import read_csv

    if not is_parquet(path):
        return _csv_columns(read_csv(path))
    records = read_parquet(path)  # a data frame's index is no column of it
    return {name: list(cells) for name, cells in records.table.items() if name not in records.index}


def _csv_columns(file: RecordFile) -> Columns:
    """Columns of numbers where every cell is a decimal number or empty, of texts otherwise."""
    from blindproof.cli.record_file import decimal

    columns: Columns = {}
    for name, texts in zip(file.columns, file.cells, strict=True):
        cells = [text if text.strip() else None for text in texts]
        numbers = all(cell is None or decimal(cell) is not None for cell in cells)
        columns[name] = [float(c) if c is not None and numbers else c for c in cells]
    return columns


def _named(text: str, example: str) -> tuple[str, str]:
    """Raises ParameterError: no column=something."""
    column, separator, said = text.rpartition("=")
    if not (column and separator and said):
        raise ParameterError(f"'{text}': expected column=value, such as {example}")
    return column, said


def _range(text: str) -> tuple[str, tuple[float, float]]:
    """Raises ParameterError."""
    column, said = _named(text, "--range age=0:120")
    low, _, high = said.partition(":")
    try:
        return column, (float(low), float(high))
    except ValueError:
        raise ParameterError(f"'{text}': expected two numbers, such as --range age=0:120") from None
