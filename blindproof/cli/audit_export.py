"""`blindproof audit export`."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from blindproof.cli.audit_options import (
    ActionCode,
    Actor,
    ArchivePlace,
    Database,
    ModelDigest,
    OutcomeCode,
    PurposeCode,
    Reason,
    Since,
    State,
    Subject,
    Tenant,
    Until,
    hexadecimal,
    opened_trail,
    query_of,
)
from blindproof.tables import plain, size
from protocol.errors import EncodingError

if TYPE_CHECKING:
    from collections.abc import Iterable

    from audit.entry import Entry
    from audit.search import Query
    from audit.signed_note import NoteKey, SignedNote
    from server.trail_files import TrailFiles


def export(  # noqa: PLR0917  (a command's options)
    state: State,
    out: Annotated[Path, typer.Option(help="File to write, one that is there is replaced.")],
    receipt: Annotated[
        list[str] | None,
        typer.Option(help="Id of a receipt, hexadecimal; may be repeated.", show_default=False),
    ] = None,
    everything: Annotated[bool, typer.Option("--all", help="Every receipt of the log.")] = False,
    tenant: Tenant = None,
    actor: Actor = None,
    purpose: PurposeCode = None,
    subject: Subject = None,
    action: ActionCode = None,
    outcome: OutcomeCode = None,
    reason: Reason = None,
    model: ModelDigest = None,
    since: Since = None,
    until: Until = None,
    since_checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help="File of an older checkpoint: the export shows that the log only grew since; may "
            "be repeated.",
            show_default=False,
        ),
    ] = None,
    cosigned: Annotated[
        bool,
        typer.Option(
            "--cosigned",
            help="Under the last checkpoint that was kept, which witnesses have signed, and only "
            "receipts that are in it.",
        ),
    ] = False,
    without_objects: Annotated[
        bool,
        typer.Option(
            "--without-objects",
            help="Receipts only: no proof of an answer can then be verified.",
        ),
    ] = False,
    include_plaintext: Annotated[
        bool,
        typer.Option(
            "--include-plaintext",
            help="With the columns that clients sent in clear, for whoever reads the file; "
            "without them those requests' proofs cannot be verified.",
        ),
    ] = False,
    database: Database = None,
    archive: ArchivePlace = None,
) -> None:
    """Write receipts, with all that proves them and their answers, to one file for an auditor.

    Choose receipts by id, by what they say, or all of them.
    """
    from blindproof.auditing.exporting import Chosen, write_export

    query = query_of(
        tenant=tenant,
        actor=actor,
        purpose=purpose,
        subject=subject,
        action=action,
        outcome=outcome,
        reason=reason,
        model=model,
        since=since,
        until=until,
    )
    ids = [hexadecimal(text, "the id of a receipt", 16) for text in receipt or ()]
    if (bool(ids), everything, query != query_of()).count(True) != 1:
        raise EncodingError("choose receipts: by --receipt, by filters, or with --all")
    with opened_trail(state, database, archive) as trail:
        log_key = trail.log_key
        sizes = tuple(_size_of(path, log_key) for path in since_checkpoint or ())
        chosen = Chosen(objects=not without_objects, plaintext=include_plaintext, since=sizes)
        note = _checkpoint(trail, ids, query, cosigned=cosigned)
        entries = _entries(trail, note, ids, query)
        exported = write_export(out, trail, note, chosen, entries)
    console = Console(highlight=False, soft_wrap=True)
    console.print(
        plain(
            f"{exported.receipts} receipts and {exported.objects} objects under the checkpoint of "
            f"{exported.checkpoint.size} entries: {size(out.stat().st_size)} in {out}"
        )
    )
    for left_out, count in exported.omitted.items():
        console.print(plain(f"  left out, {count} objects: {left_out}"))
    console.print(plain(f"  log key: {log_key.encoded()}"))


def _checkpoint(trail: TrailFiles, ids: list[bytes], query: Query, *, cosigned: bool) -> SignedNote:
    """The kept checkpoint if it will do, else one of the log as it is now."""
    from audit.checkpoint import Checkpoint
    from audit.errors import LogStateError
    from audit.search import search

    log = trail.log
    kept = log.latest_checkpoint()
    if cosigned:
        if kept is None:
            raise LogStateError("no checkpoint was kept that witnesses have signed")
        return kept
    if ids:
        last = max(log.find_receipt(one).index for one in ids)
    else:
        newest = search(log, replace(query, newest_first=True, limit=1))
        last = next((entry.index for entry in newest), -1)
    if kept is not None and Checkpoint.from_text(kept.text).size > last:
        return kept
    return log.checkpoint(trail.key)


def _entries(
    trail: TrailFiles, note: SignedNote, ids: list[bytes], query: Query
) -> Iterable[Entry]:
    """Those which a checkpoint has, in the order of the log."""
    from audit.checkpoint import Checkpoint
    from audit.errors import LogStateError
    from audit.search import search

    stop = Checkpoint.from_text(note.text).size
    if not ids:
        return search(trail.log, replace(query, stop=stop))
    entries = {entry.index: entry for entry in map(trail.log.find_receipt, ids)}
    if max(entries) >= stop:
        raise LogStateError(f"the checkpoint of {stop} entries does not have all of the receipts")
    return [entries[index] for index in sorted(entries)]


def _size_of(path: Path, key: NoteKey) -> int:
    """Entries of the log at a checkpoint that was kept elsewhere."""
    from audit.checkpoint import verify_checkpoint
    from audit.signed_note import MAX_NOTE_BYTES
    from wire.files import read_regular

    return verify_checkpoint(read_regular(path, MAX_NOTE_BYTES), key)[0].size
