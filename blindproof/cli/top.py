"""`blindproof top`."""

from __future__ import annotations

import time
from typing import Annotated

import typer
from rich.console import Console

DEFAULT_ADDRESS = "127.0.0.1:9464"


def top(
    address: Annotated[
        str,
        typer.Argument(
            help="Host and port of a server's metrics (see `serve --metrics`).",
            envvar="BLINDPROOF_METRICS",
        ),
    ] = DEFAULT_ADDRESS,
    seconds: Annotated[
        float, typer.Option(help="From one look to the next.", min=0.2, max=3600.0)
    ] = 2.0,
    once: Annotated[
        bool,
        typer.Option(
            "--once",
            help="Show what happened since the server's start, and end; as without a terminal.",
        ),
    ] = False,
) -> None:
    """Watch a server at work: calls, capacity, stages of answers, receipts."""
    from rich.live import Live

    from blindproof.load_view import load_view
    from blindproof.scrape import Change, ScrapeError, scrape
    from blindproof.tables import plain

    console = Console(highlight=False)
    latest = Change(scrape(address))
    if once or not console.is_terminal:
        console.print(load_view(latest))
        return
    with Live(load_view(latest), console=console, screen=True, auto_refresh=False) as live:
        try:
            while True:
                time.sleep(seconds)
                try:
                    latest = Change(scrape(address), latest.now)
                except ScrapeError as error:  # perhaps it starts again
                    live.update(plain(str(error)), refresh=True)
                else:
                    live.update(load_view(latest), refresh=True)
        except KeyboardInterrupt:
            return
