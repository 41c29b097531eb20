"""`blindproof audit`: the trail of a server, and its verification by somebody else."""

from __future__ import annotations

import typer

from blindproof.cli import audit_export, audit_fsck, audit_reading, audit_verify

app = typer.Typer(
    help="Export, verify and read the audit trail.", no_args_is_help=True, rich_markup_mode=None
)
for name, command in (
    ("export", audit_export.export),
    ("verify", audit_verify.verify),
    ("search", audit_reading.search),
    ("tail", audit_reading.tail),
    ("read", audit_reading.read),
    ("fsck", audit_fsck.fsck),
    ("checkpoint", audit_reading.checkpoint),
    ("key", audit_reading.key),
):
    app.command(name)(command)
