"""`blindproof ca`: a certificate authority for development, in a directory."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from blindproof.authority import Purpose

app = typer.Typer(
    help="Make an authority for development, and certificates of servers and clients.",
    no_args_is_help=True,
    rich_markup_mode=None,
)

_Directory = Annotated[
    Path, typer.Option("--directory", help="Where the authority is: its key signs for everybody.")
]
_Into = Annotated[
    Path | None,
    typer.Option("--into", help="Where NAME.pem and NAME.key.pem go.", show_default="--directory"),
]
_Days = Annotated[int, typer.Option(min=1, help="How long the certificate is valid.")]
_Replace = Annotated[
    bool,
    typer.Option(
        "--replace",
        help="Put them into the place of earlier ones; servers and clients that run take them.",
    ),
]


@app.command()
def create(
    directory: _Directory = Path("ca"),
    name: Annotated[str, typer.Option(help="Common name of the authority.")] = (
        "blindproof development"
    ),
    days: _Days = 3650,
) -> None:
    """Make an authority, once.  Its certificate is `ca.pem`: what --ca and --tls-client-ca name."""
    import datetime as dt

    from blindproof.authority import Authority
    from wire.files import make_private_directory

    authority = Authority.fresh(name, dt.timedelta(days=days))
    typer.echo(authority.save(make_private_directory(directory)))


@app.command()
def server(  # noqa: PLR0917  (a command's options)
    host: Annotated[
        list[str], typer.Argument(help="Names and addresses by which clients reach it.")
    ],
    directory: _Directory = Path("ca"),
    into: _Into = None,
    name: Annotated[
        str | None, typer.Option(help="Common name.", show_default="the first host")
    ] = None,
    days: _Days = 90,
    replace: _Replace = False,
) -> None:
    """Make a server's certificate and key; prints their paths."""
    from blindproof.authority import Purpose

    _issue(directory, into, name or host[0], days, replace=replace, purpose=Purpose.SERVER, at=host)


@app.command()
def client(
    name: Annotated[str, typer.Argument(help="The client's identity: the common name.")],
    directory: _Directory = Path("ca"),
    into: _Into = None,
    days: _Days = 90,
    replace: _Replace = False,
) -> None:
    """Make a client's certificate and key, for servers with --tls-client-ca; prints their paths."""
    from blindproof.authority import Purpose

    _issue(directory, into, name, days, replace=replace, purpose=Purpose.CLIENT, at=[])


def _issue(
    directory: Path,
    into: Path | None,
    name: str,
    days: int,
    *,
    replace: bool,
    purpose: Purpose,
    at: list[str],
) -> None:
    import datetime as dt

    from blindproof.authority import Authority
    from wire.files import make_private_directory

    paths = Authority.load(directory).issue(
        make_private_directory(into or directory),
        name,
        hosts=at,
        purpose=purpose,
        lifetime=dt.timedelta(days=days),
        replace=replace,
    )
    for path in paths:
        typer.echo(path)
