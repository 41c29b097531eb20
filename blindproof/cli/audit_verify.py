"""`blindproof audit verify`."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    TextColumn,
    TimeElapsedColumn,
    TimeRemainingColumn,
)

from blindproof.cli.audit_options import hexadecimal, kept_checkpoints

SOMETHING_FAILED = 1


def verify(  # noqa: PLR0917  (a command's options)
    file: Annotated[Path, typer.Argument(help="File written by `blindproof audit export`.")],
    log_key: Annotated[
        str,
        typer.Option(
            help="The log's key, from elsewhere than the file: what `blindproof audit key` prints "
            "and clients pin."
        ),
    ],
    witnesses: Annotated[
        Path | None,
        typer.Option(
            help="Policy file: which witnesses must have signed, and how many.", show_default=False
        ),
    ] = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help="File of an older checkpoint which the log must extend; may be repeated.",
            show_default=False,
        ),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(
            help="Digest of a model that may have answered; may be repeated.  Without it any may.",
            show_default=False,
        ),
    ] = None,
    client_key: Annotated[
        list[str] | None,
        typer.Option(
            help="Key which clients may have signed with, hexadecimal; may be repeated.  Without "
            "it any may.",
            show_default=False,
        ),
    ] = None,
    report: Annotated[
        list[Path] | None,
        typer.Option(
            help="Write the whole report to a file, *.html, *.json or *.txt; may be repeated.",
            show_default=False,
        ),
    ] = None,
    without_proofs: Annotated[
        bool,
        typer.Option(
            "--without-proofs",
            help="Signatures, log and digests only: zero-knowledge proofs take longest.",
        ),
    ] = False,
    strict: Annotated[
        bool,
        typer.Option("--strict", help="Fail, too, if anything could not be checked."),
    ] = False,
) -> None:
    """Verify an export offline, from the file alone: no server, no secret, no network.

    Exits with 0 if everything holds that was checked, 1 if something does not, 2 if the file
    cannot be used.
    """
    from audit.signed_note import NoteKey
    from audit.witness_policy import read_policy
    from blindproof.auditing.expectations import Expectations
    from blindproof.auditing.findings import Status
    from blindproof.auditing.rendering import as_text, require_report_name, write_report
    from blindproof.auditing.verification import verify_export

    for path in report or ():
        require_report_name(path)
    expected = Expectations(
        log_key=NoteKey.decoded(log_key),
        now_seconds=int(time.time()),
        witnesses=None if witnesses is None else read_policy(witnesses),
        checkpoints=kept_checkpoints(checkpoint),
        models=frozenset(hexadecimal(text, "a model's digest") for text in model or ()),
        client_keys=frozenset(hexadecimal(text, "a client's key") for text in client_key or ()),
        proofs=not without_proofs,
    )
    with file.open("rb") as stream, receipt_progress() as progress:
        task = progress.add_task("receipts", total=None)
        found = verify_export(
            stream,
            expected,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    typer.echo(as_text(found, every=False), nl=False)
    for path in report or ():
        write_report(found, path)
    if found.status is Status.FAILED or (strict and found.status is Status.NOT_CHECKED):
        raise typer.Exit(SOMETHING_FAILED)


def receipt_progress() -> Progress:
    """A bar on the error stream if that is a terminal; gone when it is done."""
    console = Console(stderr=True)
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )
