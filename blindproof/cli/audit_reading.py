"""`blindproof audit search`, `tail`, `checkpoint` and `key`: reading a trail where it is kept."""

from __future__ import annotations

import time
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindproof.cli.audit_options import (
    ActionCode,
    Actor,
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
    opened_trail,
    query_of,
)
from blindproof.cli.connection import (
    Authority,
    Certificate,
    CertificateKey,
    ServedLogKey,
    Target,
    TokenFile,
)

if TYPE_CHECKING:
    from audit.entry import Entry

_SHORT = 16
"""Hexadecimal digits of a digest in a line."""
_TITLES = ("entry", "time", "receipt", "what", "purpose", "model", "actor")
_WIDTHS = (8, 23, 32, 24, 8, _SHORT, 0)


def search(  # noqa: PLR0917  (a command's options)
    state: State,
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
    newest_first: Annotated[
        bool, typer.Option("--newest-first", help="The latest receipts first.")
    ] = False,
    limit: Annotated[
        int | None, typer.Option(min=1, help="At most so many.", show_default=False)
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One receipt a line, as JSON, with its place.")
    ] = False,
    database: Database = None,
) -> None:
    """Find receipts by what they say."""
    from audit.search import search as found

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
    query = replace(query, newest_first=newest_first, limit=limit)
    with opened_trail(state, database) as trail:
        if not as_json:
            typer.echo(_line_of(_TITLES))
        for entry in found(trail.log, query):
            typer.echo(_json_line(entry) if as_json else _line(entry))


def tail(  # noqa: PLR0917  (a command's options)
    state: State,
    lines: Annotated[int, typer.Option(min=0, help="How many of the last receipts.")] = 10,
    follow: Annotated[
        bool, typer.Option(help="Wait for further receipts, until interrupted.")
    ] = True,
    interval: Annotated[
        float, typer.Option(min=0.01, help="Seconds between two looks at the log.")
    ] = 1.0,
    as_json: Annotated[
        bool, typer.Option("--json", help="One receipt a line, as JSON, with its place.")
    ] = False,
    database: Database = None,
) -> None:
    """Print receipts as they are recorded, one a line."""
    shown = _json_line if as_json else _line
    with opened_trail(state, database) as trail:
        at = max(0, trail.log.head().size - lines)
        while True:
            for entry in trail.log.entries(at):
                typer.echo(shown(entry))
                at = entry.index + 1
            if not follow:
                return
            time.sleep(interval)


def read(  # noqa: PLR0917  (a command's options)
    target: Target,
    log_key: ServedLogKey = None,
    start: Annotated[int, typer.Option(min=0, help="Index of the first receipt.")] = 0,
    ca: Authority = None,
    certificate: Certificate = None,
    certificate_key: CertificateKey = None,
    token_file: TokenFile = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="One receipt a line, as JSON, with its place.")
    ] = False,
) -> None:
    """Read the receipts of a server where you have the role 'audit', each signature verified.

    Read from the first one on they are compared with the log's checkpoint: the command fails if
    they are not all there are.
    """
    from audit.entry import Entry
    from client_sdk import read_entries

    receipts = read_entries(
        target,
        start,
        log_key=log_key,
        ca=ca,
        certificate=certificate,
        certificate_key=certificate_key,
        token_file=token_file,
    )
    shown = _json_line if as_json else _line
    for index, signed in enumerate(receipts, start):
        typer.echo(shown(Entry(index, signed.entry())))


def checkpoint(
    state: State,
    out: Annotated[
        Path | None, typer.Option(help="File to write.", show_default="standard output")
    ] = None,
    cosigned: Annotated[
        bool,
        typer.Option(
            "--cosigned", help="The last one that was kept, with the witnesses' signatures."
        ),
    ] = False,
    database: Database = None,
) -> None:
    """Sign the log as it is, for somebody to keep elsewhere."""
    from audit.errors import LogStateError
    from wire.files import write_private

    with opened_trail(state, database) as trail:
        note = trail.log.latest_checkpoint() if cosigned else trail.log.checkpoint(trail.key)
    if note is None:
        raise LogStateError("no checkpoint was kept that witnesses have signed")
    if out is None:
        typer.echo(note.encoded().decode(), nl=False)
    else:
        write_private(out, note.encoded())


def key(state: State, database: Database = None) -> None:
    """Print the key which verifies the log's receipts and checkpoints, for those who pin it."""
    with opened_trail(state, database) as trail:
        typer.echo(trail.log_key.encoded())


def _line(entry: Entry) -> str:
    """What a receipt is about, in columns."""
    from blindproof.auditing.rendering import shown_time

    receipt = entry.receipt().receipt
    model = receipt.digests.model
    what = (receipt.action, receipt.outcome, receipt.reason)
    return _line_of(
        (
            str(entry.index),
            shown_time(receipt.time_ns),
            receipt.receipt_id.hex(),
            " ".join(filter(None, what)),
            receipt.purpose,
            "" if model is None else model.hex()[:_SHORT],
            receipt.actor,
        )
    )


def _line_of(cells: tuple[str, ...]) -> str:
    columns = zip(cells, _WIDTHS, strict=True)
    return "  ".join(f"{cell:<{width}}" for cell, width in columns).rstrip()


def _json_line(entry: Entry) -> str:
    import json

    from audit.receipt_json import receipt_to_json

    content = {"index": entry.index, **json.loads(receipt_to_json(entry.receipt()))}
    return json.dumps(content, separators=(",", ":"))
