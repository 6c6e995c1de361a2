"""`broker config`: check, show and describe the settings."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from broker import config
from broker.cli.output import ConfigFile, Json, emit, load_config, say, table

app = typer.Typer(help="Check, show and describe the settings.", no_args_is_help=True)


@app.command()
def check(file: Annotated[Path | None, typer.Argument(help="Settings file.")] = None, json: Json = False) -> None:
    """Read a settings file as a broker would and say whether it is right."""
    load_config(file)
    emit({"ok": True, "file": str(file) if file else None}) if json else say(f"{file or 'built-in defaults'}: ok")


@app.command()
def show(file: ConfigFile = None, json: Json = False) -> None:
    """Show the settings in force: defaults, file and environment together."""
    settings = msgspec.to_builtins(load_config(file))
    if json:
        emit(settings)
        return
    table(("setting", "value"), list(_rows(settings, "")))


def _rows(section: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, str]]:
    """Flatten sections within sections into `section.key`."""
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _rows(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", str(value)


@app.command()
def schema(json: Json = False) -> None:
    """Print the JSON Schema of the settings file (JSON either way)."""
    del json
    emit(config.schema())
