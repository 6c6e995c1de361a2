"""Entry of the command `broker`. Each failure that has a name ends in one line and an exit code of its own."""

from __future__ import annotations

from typing import Annotated

import typer

from broker import __version__
from broker.cli import cache, call, catalogue, config, consumer, demo, grant, serve
from broker.cli.output import fail
from broker.errors import CatalogueRefused, StartupError

app = typer.Typer(
    help="A shared-data interface broker for government.",
    no_args_is_help=True,
    pretty_exceptions_show_locals=False,  # locals may hold what a citizen told us
    context_settings={"help_option_names": ["-h", "--help"]},
)
app.command("serve")(serve.serve)
app.command("status")(serve.status)
app.command("call")(call.call)
app.command("demo")(demo.demo)
app.add_typer(config.app, name="config")
app.add_typer(catalogue.app, name="catalogue")
app.add_typer(consumer.app, name="consumer")
app.add_typer(grant.app, name="grant")
app.add_typer(cache.app, name="cache")


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
