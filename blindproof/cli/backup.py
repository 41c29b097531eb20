"""`blindproof backup` and `blindproof restore`."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from blindproof.cli.audit_options import State, kept_checkpoints
from blindproof.tables import size

if TYPE_CHECKING:
    from server.backup import Copied

_Models = Annotated[
    Path | None,
    typer.Option(help="Directory of published models, to be copied too.", show_default=False),
]


def backup(
    target: Annotated[Path, typer.Argument(help="Directory of the backup, made by this command.")],
    state: State,
    models: _Models = None,
) -> None:
    """Copy a server's state directory, with all its tenants; the server may run.

    The copy holds every secret of the server: keep it on an encrypted disk, or encrypt it.  It is
    checked as `blindproof audit fsck` does.  Settings, certificates, and a database or an archive
    that are elsewhere are not in it: dump such a database first.
    """
    from server.backup import back_up

    _tell(back_up(target, state, models))


def restore(
    source: Annotated[Path, typer.Argument(help="Directory that `blindproof backup` made.")],
    state: State,
    models: _Models = None,
    checkpoint: Annotated[
        list[Path] | None,
        typer.Option(
            help="File of a checkpoint that was kept elsewhere, which a log of the backup must "
            "extend; may be repeated.  Without one, entries that were made after the backup are "
            "not missed.",
            show_default=False,
        ),
    ] = None,
) -> None:
    """Make a server's directories from a backup, before the server starts.

    Every file is compared with its digest, and each log with its checkpoint.  Nothing is
    overwritten: the directories are missing or empty.
    """
    from server.backup import restore as restored

    _tell(restored(source, state, models, kept_checkpoints(checkpoint)))


def _tell(copied: Copied) -> None:
    typer.echo(f"ok      {copied.files} files, {size(copied.size)}")
    for name, entries in copied.logs.items():
        typer.echo(f"ok      log of {name}: {entries} entries")
    for name in copied.elsewhere:
        typer.echo(f"note    {name}: its database or its archive is elsewhere, and not copied")
