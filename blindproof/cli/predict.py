"""`blindproof predict`."""

from __future__ import annotations

import csv
import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

from blindproof.cli.tables import kibibytes, milliseconds, new_table
from protocol.errors import InputError, ShapeError

if TYPE_CHECKING:
    from client_sdk import Result


def predict(  # noqa: PLR0917  (a command's options)
    records: Annotated[Path, typer.Argument(help="CSV file with one column per feature.")],
    target: Annotated[str, typer.Option(help="Host and port of the server.")],
    model: Annotated[str, typer.Option(help="Digest of the model, hexadecimal: what is pinned.")],
    keys: Annotated[Path, typer.Option(help="Directory of the key store; made if missing.")],
    ca: Annotated[Path | None, typer.Option(help="PEM file of the authority to trust.")] = None,
    packing: Annotated[str, typer.Option(help="auto, batch or single.")] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(help="Write here, .json or CSV; else standard output."),
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option(help="Write what `blindproof verify` checks offline.")
    ] = None,
) -> None:
    """Encrypt records, have them evaluated, verify the proof, decrypt."""
    from client_sdk import Client, KeyStore

    rows = read_csv(records)
    with Client(target, model=model, keys=KeyStore(keys), ca=ca) as client:
        names = client.card().outputs
        result = client.predict(rows, packing=packing)
    if evidence is not None:
        result.save(evidence)
    _write(result, names, output)
    table = new_table("Verified", "", "")
    for label, cell in (
        ("records", str(len(result.values))),
        ("error bound", f"{result.error_bound:.2e}"),
        ("precision", f"{result.precision_bits:.1f} bits"),
        ("soundness", f"{result.soundness_bits:.1f} bits"),
        ("sent", kibibytes(result.sent_bytes)),
        ("received", kibibytes(result.received_bytes)),
        ("verify", milliseconds(result.timings.verify)),
    ):
        table.add_row(label, cell)
    Console(stderr=True, highlight=False).print(table)


def read_csv(path: Path) -> list[dict[str, float]]:
    """Records of a CSV file with a header.

    Raises:
        InputError: unreadable, empty, ragged, or a cell that is not a number.
    """
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.DictReader(stream, strict=True)
            rows = [_row(row, reader.line_num) for row in reader]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path}: {error}") from error
    if not rows:
        raise ShapeError(f"{path}: no records")
    return rows


def _row(row: dict[Any, Any], line: int) -> dict[str, float]:
    numbers = {}
    for name, cell in row.items():
        if name is None or cell is None:  # more cells, or fewer
            raise ShapeError(f"line {line}: not as many cells as the header has")
        try:
            numbers[name] = float(cell)
        except ValueError as error:
            raise ShapeError(f"column '{name}', line {line}: not a number") from error
    return numbers


def _write(result: Result, outputs: tuple[str, ...], path: Path | None) -> None:
    """Released values, labels and scores, one row a record."""
    rows = []
    for index, values in enumerate(result.values.tolist()):
        row: dict[str, object] = dict(zip(outputs, values, strict=True))
        if result.labels is not None:
            row["label"] = result.labels[index]
        if result.scores is not None:
            row["score"] = float(result.scores[index])
        rows.append(row)
    if path is not None and path.suffix == ".json":
        document = {
            "model": result.model_digest.hex(),
            "error_bound": result.error_bound,
            "soundness_bits": result.soundness_bits,
            "predictions": rows,
        }
        path.write_text(json.dumps(document, indent=2, allow_nan=False) + "\n", encoding="utf-8")
        return
    stream = sys.stdout if path is None else path.open("w", newline="", encoding="utf-8")
    try:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    finally:
        if path is not None:
            stream.close()
