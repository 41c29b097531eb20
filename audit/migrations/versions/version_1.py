"""Version 1: head, entries, nodes and checkpoints.  There is nothing older to come from."""

from __future__ import annotations

revision = "1"
down_revision = None


def upgrade() -> None:
    """No log is older than this."""
