"""`blindproof audit fsck`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindproof.cli.audit_options import (
    ArchivePlace,
    Database,
    State,
    kept_checkpoints,
    opened_trail,
)
from blindproof.cli.audit_verify import SOMETHING_FAILED, receipt_progress
from blindproof.tables import size

if TYPE_CHECKING:
    from collections.abc import Iterator

    from rich.progress import Progress

    from audit.store_check import StoreCheck
    from server.trail_files import TrailFiles


def fsck(  # noqa: PLR0917  (a command's options)
    state: State,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help="File of a checkpoint that was kept elsewhere; may be repeated.  Without one, a "
            "history that was rewritten from its beginning looks whole.",
            show_default=False,
        ),
    ] = None,
    deep: Annotated[
        bool,
        typer.Option("--deep", help="Compare each receipt's digests with the archived objects."),
    ] = False,
    proofs: Annotated[
        bool, typer.Option("--proofs", help="With --deep: verify every proof again.")
    ] = False,
    database: Database = None,
    archive: ArchivePlace = None,
) -> None:
    """Compute the log again from its entries, and compare the archive with what it should hold.

    Exits with 0 if all is whole, 1 if something is not.  May run beside the server.
    """
    kept = list(kept_checkpoints(checkpoint))
    complaints = 0
    with opened_trail(state, database, archive) as trail, receipt_progress() as progress:
        found = _complaints(trail, kept, progress, deep=deep or proofs, proofs=proofs)
        for complaint in found:
            complaints += 1
            typer.echo(f"FAILED  {complaint}")
    if complaints:
        raise typer.Exit(SOMETHING_FAILED)


def _complaints(
    trail: TrailFiles, kept: list[bytes], progress: Progress, *, deep: bool, proofs: bool
) -> Iterator[str]:
    """Everything that is wrong; what was found whole is printed."""
    from audit.errors import LogStateError, NoteError, SignatureError
    from audit.log_check import check_log
    from audit.store_check import check_store

    task = progress.add_task("entries", total=None)
    try:
        head = check_log(
            trail.engine,
            trail.log_key,
            server_key=trail.key.public,
            kept=kept,
            progress=lambda done: progress.update(task, completed=done),
        )
    except (LogStateError, NoteError, SignatureError) as error:
        yield f"log: {error}"
        return
    compared = f", and it extends {len(kept)} checkpoints from elsewhere" if kept else ""
    typer.echo(f"ok      log: {head.size} entries lead to {head.root.hex()}{compared}")
    task = progress.add_task("objects", total=None)
    store = check_store(
        trail.engine,
        trail.archive.store,
        lambda done: progress.update(task, completed=done),
    )
    yield from _store_complaints(store)
    if deep:
        yield from _answer_complaints(trail, progress, head.size, proofs=proofs)


def _store_complaints(store: StoreCheck) -> Iterator[str]:
    for name, rows in (("missing", store.missing), ("damaged", store.damaged)):
        for row in rows:
            yield f"archive: {row.kind} {row.name.hex()} is {name}"
    for receipt_id in store.unarchived:
        yield f"archive: nothing was kept of the answer of receipt {receipt_id.hex()}"
    for row in store.strays:
        yield f"archive: {row.kind} {row.name.hex()} has no receipt of tenant '{row.tenant}'"
    if store.whole:
        typer.echo(
            f"ok      archive: {store.objects} objects, {size(store.size)}; {store.removed} were "
            f"removed by rules, {store.orphans} belong to no receipt"
        )


def _answer_complaints(
    trail: TrailFiles, progress: Progress, total: int, *, proofs: bool
) -> Iterator[str]:
    from collections import Counter

    from blindproof.auditing.deep_check import check_answers
    from blindproof.auditing.findings import Status, Subject

    task = progress.add_task("answers", total=total)
    counts: Counter[Status] = Counter()
    for one in check_answers(
        trail, proofs=proofs, progress=lambda done: progress.update(task, completed=done)
    ):
        for finding in one.findings:
            if finding.status is Status.FAILED:
                yield f"entry {one.index}: {finding.subject}: {finding.detail}"
            if finding.subject is Subject.ANSWER:
                counts[finding.status] += 1
    if not counts[Status.FAILED]:
        removed = counts[Status.NOT_CHECKED]
        typer.echo(
            f"ok      answers: {counts[Status.PASSED]} agree with what is archived, of {removed} "
            "it was removed"
        )
