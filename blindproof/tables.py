"""How tables and numbers are written."""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

from rich import box
from rich.console import RenderableType
from rich.style import StyleType
from rich.table import Table
from rich.text import Text

if TYPE_CHECKING:
    from protocol.model import Profile


class PlainTable(Table):
    """A table that shows text as it is: names come from others and may look like markup."""

    def add_row(
        self,
        *renderables: RenderableType | None,
        style: StyleType | None = None,
        end_section: bool = False,
    ) -> None:
        """Add a row; strings lose what cannot be printed and are not read as markup."""
        cells = [plain(cell) if isinstance(cell, str) else cell for cell in renderables]
        super().add_row(*cells, style=style, end_section=end_section)


def plain(text: str) -> Text:
    """Text without markup or control characters."""
    return Text("".join(character for character in text if character.isprintable()))


def new_table(title: str, *columns: str) -> Table:
    """A table whose first column is text and whose others are aligned to the right."""
    table = PlainTable(
        title=plain(title), box=box.SIMPLE_HEAD, title_justify="left", caption_justify="left"
    )
    for index, column in enumerate(columns):
        justify = "left" if index == 0 else "right"
        table.add_column(plain(column), justify=justify, overflow="fold")  # type: ignore[arg-type]
    return table


def key_lines(digests: tuple[bytes, ...]) -> list[str]:
    """The enrolled keys that answers are under, one in a line; a public model's are under none."""
    return [
        f"  under the key {digest.hex()}" if any(digest) else "  under no key: the model is public"
        for digest in digests
    ]


def release_noise(profile: Profile) -> str:
    """How far the noise on released values exceeds any error in them that depends on the key."""
    return f"2^{profile.disclosure_log2} x key-dependent errors"


def soundness(bits: float) -> str:
    """Bits against a false proof; an answer that is recomputed has no such error."""
    return "recomputed, no error" if math.isinf(bits) else f"{bits:.1f} bits"


def milliseconds(seconds: float) -> str:
    """A duration in milliseconds."""
    return f"{1000 * seconds:.1f} ms"


def size(count: int) -> str:
    """A size in KiB, from 10 MiB on in MiB."""
    if count < 10 << 20:
        return f"{count / 1024:,.1f} KiB"
    return f"{count / 2**20:,.1f} MiB"
