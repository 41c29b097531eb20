"""The command line.  One module per command; errors are one line and exit code 2."""

from __future__ import annotations

from typing import Any

import typer
from rich.console import Console
from typer.core import TyperGroup

from blindproof.cli import demo, models, params, predict, publish, serve, verify
from protocol.errors import BlindproofError

EXIT_CODE = 2


class OneLineErrors(TyperGroup):
    """Reports this project's own errors without a traceback."""

    def invoke(self, ctx: Any) -> Any:  # noqa: ANN401 -- the signature is click's
        """Run a command."""
        try:
            return super().invoke(ctx)
        except BlindproofError as error:
            console = Console(stderr=True, highlight=False, soft_wrap=True)
            console.print("error:", style="bold red", end=" ")
            console.print(" ".join(str(error).split()), markup=False)
            raise typer.Exit(EXIT_CODE) from error


app = typer.Typer(
    cls=OneLineErrors,
    help="Private inference that proves itself.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
for name, command in (
    ("demo", demo.demo),
    ("publish", publish.publish),
    ("serve", serve.serve),
    ("models", models.models),
    ("predict", predict.predict),
    ("verify", verify.verify),
    ("params", params.params),
):
    app.command(name)(command)
