"""`blindproof predict`."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

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
    connected,
)
from blindproof.cli.record_file import read_csv
from blindproof.cli.tables import (
    key_lines,
    kibibytes,
    milliseconds,
    new_table,
    release_noise,
    soundness,
)
from protocol.errors import InputError
from wire.files import write_private

if TYPE_CHECKING:
    from client_sdk import Result


def predict(  # noqa: PLR0917  (a command's options)
    records: Annotated[Path, typer.Argument(help="CSV file with one column per feature.")],
    target: Target,
    model: Model,
    keys: Keys,
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    client_id: ClientId = None,
    server_id: ServerId = None,
    max_memory: MaxMemory = DEFAULT_MAX_MEMORY,
    packing: Annotated[str, typer.Option(help="auto, batch or single.")] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(help="Write here, .json or CSV, readable by you alone; else standard output."),
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option(help="Write what `blindproof verify` checks offline.")
    ] = None,
) -> None:
    """Encrypt records, have them evaluated, verify the proof, decrypt."""
    read = read_csv(records)
    for path in (output, evidence):
        if path is not None:
            _require_writable(path)
    with connected(
        target,
        model,
        keys,
        ca=ca,
        certificate=certificate,
        certificate_key=certificate_key,
        client_id=client_id,
        server_id=server_id,
        max_memory=max_memory,
    ) as client:
        card = client.card()
        result = client.predict(read.for_model(card), packing=packing)
    _write(result, card.outputs, read.lines, output)
    if evidence is not None:
        result.save(evidence)
    table = new_table("Verified", "", "")
    for label, cell in (
        ("records", str(len(result.values))),
        ("error bound", f"{result.error_bound:.2e}"),
        ("precision", f"{result.precision_bits:.1f} bits"),
        ("soundness", soundness(result.soundness_bits)),
        ("noise on release", _release_noise(result)),
        ("sent, with any enrolment", kibibytes(result.sent_bytes)),
        ("received, with any enrolment", kibibytes(result.received_bytes)),
        ("verify", milliseconds(result.timings.verify)),
    ):
        table.add_row(label, cell)
    console = Console(stderr=True, highlight=False)
    console.print(table)
    for line in key_lines(result.key_digests):
        console.print(line, soft_wrap=True)


def _release_noise(result: Result) -> str:
    request = result.evidence[0].request
    return release_noise(request.card.profile(request.packing))


def _require_writable(path: Path) -> None:
    """Refuse, before anything is sent, a path that could not be written afterwards.

    Raises:
        InputError: not in an existing directory that can be written, or not a regular file.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no directory {path.parent}")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: the directory cannot be written")


def _write(
    result: Result, outputs: tuple[str, ...], lines: tuple[int, ...], path: Path | None
) -> None:
    """Released values, labels and scores, one row a record, with its line in the input."""
    text = (
        _json(result, outputs, lines)
        if path is not None and path.suffix == ".json"
        else _csv(result, outputs, lines)
    )
    if path is None:
        typer.echo(text, nl=False)
    else:
        write_private(path, text.encode())


def _columns(
    result: Result, outputs: tuple[str, ...], lines: tuple[int, ...]
) -> list[tuple[str, list[object]]]:
    columns: list[tuple[str, list[object]]] = [("line", list(lines))]
    columns += [
        (name, list(values)) for name, values in zip(outputs, result.values.T.tolist(), strict=True)
    ]
    if result.labels is not None:
        columns.append(("label", list(result.labels)))
    if result.scores is not None:
        columns.append(("score", list(result.scores.tolist())))
    return columns


def _csv(result: Result, outputs: tuple[str, ...], lines: tuple[int, ...]) -> str:
    columns = _columns(result, outputs, lines)
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(name for name, _ in columns)
    writer.writerows(zip(*(cells for _, cells in columns), strict=True))
    return stream.getvalue()


def _json(result: Result, outputs: tuple[str, ...], lines: tuple[int, ...]) -> str:
    from client_sdk.verification import outputs_digest

    columns = _columns(result, outputs, lines)
    names = [name for name, _ in columns]
    exact = math.isinf(result.soundness_bits)
    document = {
        "model": result.model_digest.hex(),
        "keys": [digest.hex() for digest in result.key_digests if any(digest)],
        "requests": [
            {
                "id": answer.request.request_id.hex(),
                "outputs_digest": outputs_digest(answer.outputs).hex(),
            }
            for answer in result.evidence
        ],
        "error_bound": result.error_bound,
        "soundness_bits": None if exact else result.soundness_bits,  # recomputed: no error
        "predictions": [
            dict(zip(names, cells, strict=True))
            for cells in zip(*(cells for _, cells in columns), strict=True)
        ],
    }
    return json.dumps(document, indent=2, allow_nan=False) + "\n"
