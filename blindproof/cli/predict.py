"""`blindproof predict`."""

from __future__ import annotations

import csv
import io
import json
import math
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, TypeAlias

import typer
from rich.console import Console

from blindproof.cli.connection import (
    DEFAULT_MAX_MEMORY,
    Actor,
    Authority,
    Certificate,
    CertificateKey,
    ClientId,
    Keys,
    LogKey,
    MaxMemory,
    Model,
    Purpose,
    ServerId,
    Target,
    Tenant,
    TokenFile,
    WitnessFile,
    connected,
)
from blindproof.cli.parquet_file import (
    ParquetRecords,
    is_parquet,
    parquet_bytes,
    read_parquet,
    require_parquet,
)
from blindproof.cli.record_file import RecordFile, read_csv
from blindproof.tables import (
    key_lines,
    milliseconds,
    new_table,
    plain,
    release_noise,
    size,
    soundness,
)
from protocol.accountability import DEFAULT_PURPOSE, DEFAULT_TENANT
from protocol.errors import InputError
from protocol.links import EXP
from wire.files import write_private

if TYPE_CHECKING:
    from client_sdk import Result
    from protocol.model import ModelCard


SUBJECT_VARIABLE = "BLINDPROOF_SUBJECT"
SPREADSHEETS = (".xlsx", ".xls", ".ods")


def predict(  # noqa: PLR0917  (a command's options)
    records: Annotated[
        Path, typer.Argument(help="CSV or Parquet file with one column per feature.")
    ],
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
    packing: Annotated[str, typer.Option(help="auto, batch or single.")] = "auto",
    output: Annotated[
        Path | None,
        typer.Option(
            help="Write here, .json, .parquet or CSV, readable by you alone; else standard output."
        ),
    ] = None,
    evidence: Annotated[
        Path | None, typer.Option(help="Write what `blindproof verify` checks offline.")
    ] = None,
    receipt: Annotated[
        Path | None,
        typer.Option(
            help="Write the receipt, signed by the server and by you; of several requests "
            "numbered files, NAME-1.json and so on."
        ),
    ] = None,
    tenant: Tenant = DEFAULT_TENANT,
    actor: Actor = None,
    purpose: Purpose = DEFAULT_PURPOSE,
    subject: Annotated[
        str | None,
        typer.Option(
            envvar=SUBJECT_VARIABLE,
            help="What you call the one person whom all records are about.  Receipts get a "
            "pseudonym, made with a key in --keys; the name itself is not sent.  Others on this "
            "machine may see arguments: better give the variable.",
        ),
    ] = None,
    log_key: LogKey = None,
    witnesses: WitnessFile = None,
) -> None:
    """Encrypt records, have them evaluated, verify proof and receipt, decrypt.

    Answers have a column for each output of the model and, if it has classes, `label`; `score` is
    the probability of the second of two classes.
    """
    read = read_parquet(records) if is_parquet(records) else read_csv(records)
    for path in (output, evidence, receipt):
        if path is not None:
            _require_writable(path)
    if output is not None and output.suffix.lower() in SPREADSHEETS:
        raise InputError(f"{output}: no spreadsheets are written, name it .csv, .json or .parquet")
    if output is not None and is_parquet(output):
        require_parquet()
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
        tenant=tenant,
        actor=actor,
        purpose=purpose,
        log_key=log_key,
        witnesses=witnesses,
    ) as client:
        card = client.card()
        _require_distinct(read, card)
        result = client.predict(read.for_model(card), packing=packing, subject=subject)
    _write(_columns(card, result, read), result, output)
    if evidence is not None:
        result.save(evidence)
    if receipt is not None:
        result.save_receipt(receipt)
    table = new_table("Verified", "", "")
    table.show_header = False
    for label, cell in (
        ("records", str(len(result.values))),
        ("error bound", f"{result.error_bound:.2e}"),
        ("precision", f"{result.precision_bits:.1f} bits"),
        ("soundness", soundness(result.soundness_bits)),
        ("noise on release", _release_noise(result)),
        ("sent, with any enrolment", size(result.sent_bytes)),
        ("received, with any enrolment", size(result.received_bytes)),
        ("verify", milliseconds(result.timings.verify)),
    ):
        table.add_row(label, cell)
    console = Console(stderr=True, highlight=False)
    console.print(table)
    for line in (*key_lines(result.key_digests), *_receipt_lines(result)):
        console.print(plain(line), soft_wrap=True)


def _receipt_lines(result: Result) -> list[str]:
    """Where each request is recorded, one in a line."""
    return [
        f"  receipt {proven.signed.receipt.receipt_id.hex()}, entry {proven.index} of the log "
        f"'{proven.log_key.name}'{'' if delivered else '; your signature was not delivered'}"
        for proven, delivered in zip(result.receipts, result.countersigned, strict=True)
    ]


def _release_noise(result: Result) -> str:
    request = result.evidence[0].request
    return release_noise(request.card.profile(request.packing))


def _require_writable(path: Path) -> None:
    """Refuse, before anything is sent, a path that could not be written afterwards.

    Raises:
        InputError: not in an existing directory that can be written, or not a regular file.
    """
    if not path.parent.is_dir():
        raise InputError(f"{path}: there is no directory {path.parent}, make it first")
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is not a regular file")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path}: the directory cannot be written, choose another")


Columns: TypeAlias = list[tuple[str, list[object]]]
"""What is written: columns by name, one cell a record."""


def _write(columns: Columns, result: Result, path: Path | None) -> None:
    """One row a record."""
    if path is None:
        typer.echo(_csv(columns), nl=False)
    elif path.suffix == ".json":
        write_private(path, _json(columns, result).encode())
    elif is_parquet(path):
        write_private(path, parquet_bytes(columns, _metadata(result)))
    else:
        write_private(path, _csv(columns).encode())


def _require_distinct(read: RecordFile | ParquetRecords, card: ModelCard) -> None:
    """Refuse, before anything is sent, a table that could not be written with the answers in it.

    Raises:
        InputError: a column that is copied to the output has the name of one of the model's.
    """
    from blindproof.description import RESERVED_OUTPUTS

    taken = {*RESERVED_OUTPUTS, *card.outputs, *_link_names(card)}
    for name, _ in read.local(card):
        if name in taken:
            raise InputError(
                f"column '{name}' of the input is copied to the output, which has another column "
                "of this name: rename or drop it"
            )


def _columns(card: ModelCard, result: Result, read: RecordFile | ParquetRecords) -> Columns:
    """Where a record is in the input, the client's own columns, released outputs, and the link's.

    `line` is a line of a CSV file, or the number of a record of a Parquet file; `score` is the
    probability of the second of two labels.
    """
    columns: Columns = [("line", list(read.lines))]
    columns += [(name, list(cells)) for name, cells in read.local(card)]
    columns += list(zip(card.outputs, result.values.T.tolist(), strict=True))
    if card.link == EXP and result.predictions is not None:
        columns += list(zip(_link_names(card), result.predictions.T.tolist(), strict=True))
    if result.labels is not None:
        own = map(int, result.labels) if card.integer_labels else result.labels
        columns.append(("label", list(own)))
    if result.probabilities is not None and len(card.labels) == 2:
        columns.append(("score", result.probabilities[:, 1].tolist()))
    return columns


def _link_names(card: ModelCard) -> list[str]:
    """Columns of a regression whose link changes its outputs."""
    return [f"exp({name})" for name in card.outputs] if card.link == EXP else []


def _metadata(result: Result) -> dict[str, str]:
    """What a Parquet file says of all its rows."""
    return {
        "blindproof.model": result.model_digest.hex(),
        "blindproof.error_bound": repr(result.error_bound),
        "blindproof.soundness_bits": repr(result.soundness_bits),
    }


def _csv(columns: Columns) -> str:
    stream = io.StringIO(newline="")
    writer = csv.writer(stream, lineterminator="\n")
    writer.writerow(name for name, _ in columns)
    writer.writerows(zip(*(cells for _, cells in columns), strict=True))
    return stream.getvalue()


def _json(columns: Columns, result: Result) -> str:
    from wire.inference import outputs_digest

    names = [name for name, _ in columns]
    exact = math.isinf(result.soundness_bits)
    document = {
        "model": result.model_digest.hex(),
        "keys": [digest.hex() for digest in result.key_digests if any(digest)],
        "requests": [
            {
                "id": answer.request.request_id.hex(),
                "outputs_digest": outputs_digest(answer.outputs).hex(),
                "receipt": proven.signed.receipt.receipt_id.hex(),
            }
            for answer, proven in zip(result.evidence, result.receipts, strict=True)
        ],
        "error_bound": result.error_bound,
        "soundness_bits": None if exact else result.soundness_bits,  # recomputed: no error
        "predictions": [
            dict(zip(names, cells, strict=True))
            for cells in zip(*(cells for _, cells in columns), strict=True)
        ],
    }
    return json.dumps(document, indent=2, allow_nan=False, default=str) + "\n"
