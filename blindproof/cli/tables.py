"""How the command line writes tables and numbers."""

from __future__ import annotations

from rich import box
from rich.table import Table


def new_table(title: str, *columns: str) -> Table:
    """A table whose first column is text and whose others are aligned to the right."""
    table = Table(title=title, box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left")
    for index, column in enumerate(columns):
        table.add_column(column, justify="left" if index == 0 else "right", overflow="fold")
    return table


def milliseconds(seconds: float) -> str:
    """A duration in milliseconds."""
    return f"{1000 * seconds:.1f} ms"


def kibibytes(count: int) -> str:
    """A size in KiB."""
    return f"{count / 1024:,.1f} KiB"
