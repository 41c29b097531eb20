"""The command line.  One module per command; errors are one line and exit code 2."""

from __future__ import annotations

import os
from typing import Annotated, Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from blindproof import __version__
from blindproof.cli import (
    audit,
    backup,
    ca,
    compiling,
    demo,
    enrol,
    keys,
    models,
    params,
    predict,
    publish,
    serve,
    top,
    verify,
    witness,
)
from protocol.errors import BlindproofError

EXIT_CODE = 2

# gRPC reads this when it is loaded, which commands do when they run.  Its own log lines would stand
# beside the one line of an error.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")


class OneLineErrors(TyperGroup):
    """Reports this project's own errors, and files that cannot be used, without a traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 -- the signature is click's
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BlindproofError as error:
            _report(str(error))
            raise typer.Exit(EXIT_CODE) from error
        except BrokenPipeError:  # `blindproof ... | head`: click ends quietly
            raise
        except OSError as error:
            where = f"{error.filename}: " if error.filename is not None else ""
            _report(f"{where}{error.strerror or error}")
            raise typer.Exit(EXIT_CODE) from error


def _report(message: str) -> None:
    console = Console(stderr=True, highlight=False, soft_wrap=True)
    console.print("error:", style="bold red", end=" ")
    console.print(" ".join(message.split()), markup=False)


app = typer.Typer(
    cls=OneLineErrors,
    help="Private inference that proves itself.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for name, command in (
    ("demo", demo.demo),
    ("compile", compiling.compile_model),
    ("publish", publish.publish),
    ("withdraw", publish.withdraw),
    ("serve", serve.serve),
    ("top", top.top),
    ("backup", backup.backup),
    ("restore", backup.restore),
    ("enrol", enrol.enrol),
    ("predict", predict.predict),
    ("verify", verify.verify),
    ("keys", keys.keys),
    ("params", params.params),
):
    app.command(name)(command)
app.add_typer(models.app, name="models")
app.add_typer(audit.app, name="audit")
app.add_typer(witness.app, name="witness")
app.add_typer(ca.app, name="ca")


def _show_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"blindproof {__version__}")
        raise typer.Exit


@app.callback()
def options(
    _version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_show_version, is_eager=True, help="Show the version and exit."
        ),
    ] = False,
) -> None:
    """Private inference that proves itself."""
