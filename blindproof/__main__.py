"""`python -m blindproof`: the command line."""

from __future__ import annotations

from blindproof.cli import app

app()
