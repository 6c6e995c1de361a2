"""Entry of the command `broker`. Each failure that has a name ends in one line and an exit code of its own.

A command's module is imported when the command is named, not before: `broker serve` becomes the supervisor, which is to have
neither gRPC nor a database in it, and no command waits for the imports of the others.
"""

from __future__ import annotations

import importlib
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from broker import __version__
from broker.cli.output import fail
from broker.errors import CatalogueRefused, StartupError

# Each is a module of broker.cli with an `app`.
COMMANDS = ("serve", "status", "call", "catalogue", "grant", "consumer", "cache", "records", "link", "audit", "config", "demo")


class _OnDemand(TyperGroup):
    def list_commands(self, ctx: Any) -> list[str]:
        """Name the commands in the order of the table."""
        del ctx
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        """Import the one that is asked for."""
        del ctx
        if cmd_name not in COMMANDS:
            return None
        command = typer.main.get_command(importlib.import_module(f"broker.cli.{cmd_name}").app)
        command.name = cmd_name
        return command


app = typer.Typer(
    cls=_OnDemand,
    help="A shared-data interface broker for government.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold what a citizen told us
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _print_version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"broker {__version__}")
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print it.")] = False,
) -> None:
    """A shared-data interface broker for government."""


def main() -> None:
    """Run the command line."""
    try:
        app()
    except CatalogueRefused as error:
        fail(error, error.problems)
    except StartupError as error:
        fail(error)


if __name__ == "__main__":
    main()
