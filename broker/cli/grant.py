"""`broker grant`: add a grant to a catalogue directory and put it in force."""

from __future__ import annotations

import datetime as dt
import json as json_text
from pathlib import Path
from typing import Annotated

import typer

from broker.cli.catalogue import apply_directory
from broker.cli.output import ConfigFile, Json, emit, load_config, say
from broker.errors import CatalogueRefused, DirectoryUnusable

app = typer.Typer(help="Grants.", no_args_is_help=True)


@app.callback()
def _group() -> None:
    """Grants."""


@app.command()
def add(
    path: Annotated[Path, typer.Argument(help="Catalogue directory; the grant becomes a file in it.")],
    consumer: Annotated[str, typer.Option(help="Who may ask.")],
    interface: Annotated[str, typer.Option(help="What.")],
    purpose: Annotated[list[str], typer.Option(help="For which purpose; may be repeated.")],
    field: Annotated[list[str], typer.Option(help="Which field of the answer; may be repeated.")],
    until: Annotated[dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="First day on which it no longer holds (UTC).")],
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Write a grant into a catalogue directory and apply the directory; undone if it would not be valid."""
    name = f"{consumer}.{interface}.{purpose[0]}".lower().replace("/", "-")  # codes may have slashes, file names may not
    target = path / f"grant-{name}.toml"
    if target.exists():
        raise CatalogueRefused((f"{target.name}: exists already; edit it and run `broker catalogue apply {path}`",))
    try:
        target.write_text(_toml(name, consumer, interface, purpose, field, until), encoding="utf-8")
    except OSError as error:
        raise DirectoryUnusable(f"{target}: cannot be written ({error.strerror})") from error
    try:
        version, _ = apply_directory(path, load_config(file))
    except BaseException:
        target.unlink()
        raise
    if json:
        emit({"id": name, "file": str(target), "version": version})
    else:
        say(f"{target} written; revision {version} in force")


def _toml(name: str, consumer: str, interface: str, purposes: list[str], fields: list[str], until: dt.datetime) -> str:
    # JSON strings and arrays of strings are TOML as they stand.
    values = {"id": name, "consumer": consumer, "interface": interface, "purposes": purposes, "fields": fields}
    lines = [f"{key} = {json_text.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    today = dt.datetime.now(dt.UTC).date()
    lines += [f"valid_from = {today}T00:00:00Z", f"valid_until = {until.date()}T00:00:00Z"]
    return "[[grants]]\n" + "\n".join(lines) + "\n"
