"""`broker catalogue`: check, compare and apply a catalogue directory."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from broker.cli import catalogue_files, catalogue_mounts
from broker.cli.actor import Actor, signature
from broker.cli.output import ConfigFile, Json, emit, load_config, say, table
from broker.config import Config
from broker.errors import CatalogueRefused
from broker.model.catalogue import Catalogue
from broker.policy import directory, validate
from broker.policy.store import Difference, open_control
from broker.upstream.check import connector_problems

app = typer.Typer(help="Check, compare and apply a catalogue directory; import and export; mounts.", no_args_is_help=True)
app.command("import")(catalogue_files.import_)
app.command("export")(catalogue_files.export_)
app.command("mounts")(catalogue_mounts.mounts)
Directory = Annotated[Path, typer.Argument(help="Directory of TOML files.")]


def read_valid(path: Path) -> Catalogue:
    """Read a catalogue directory.

    Raises:
        CatalogueRefused: it has errors; carries every one of them with file and key.
        DirectoryUnusable: it does not exist or is empty.
    """
    contents = directory.read(path)
    problems = [*contents.problems, *validate.problems(contents, connector_problems)]
    if problems:
        raise CatalogueRefused(tuple(problems))
    return contents.catalogue()


def apply_directory(path: Path, config: Config, actor: str) -> tuple[int, Difference]:
    """Make the control plane hold exactly what a directory says; returns the revision in force and what changed.

    The actor, a person, stands in the history of every grant that changes.
    """
    catalogue = read_valid(path)
    control = open_control(config)
    try:
        return control.apply(catalogue, signature(actor), "broker catalogue apply")
    finally:
        control.close()


@app.command()
def check(path: Directory, json: Json = False) -> None:
    """Read a directory and say whether it could be applied."""
    catalogue = read_valid(path)
    counts = {kind: len(getattr(catalogue, kind)) for kind in directory.KINDS}
    emit({"ok": True, **counts}) if json else say("ok: " + ", ".join(f"{n} {kind}" for kind, n in counts.items()))


@app.command()
def diff(path: Directory, file: ConfigFile = None, json: Json = False) -> None:
    """Show what applying a directory would change."""
    catalogue, config = read_valid(path), load_config(file)
    control = open_control(config)
    try:
        _print(control.difference(catalogue), None, json)
    finally:
        control.close()


@app.command()
def apply(path: Directory, actor: Actor = "", file: ConfigFile = None, json: Json = False) -> None:
    """Make the control plane hold exactly what a directory says: all of it or, if anything is wrong, nothing."""
    version, difference = apply_directory(path, load_config(file), actor)
    _print(difference, version, json)


def _print(difference: Difference, version: int | None, json: bool) -> None:
    if json:
        emit({"version": version, "difference": difference})
        return
    parts = [("+", difference.added), ("~", difference.changed), ("-", difference.removed)]
    rows = [(sign, kind, _some(keys)) for sign, part in parts for kind, keys in part.items()]
    rows += [(sign, what, _some(keys)) for sign, what, keys in _of_grants(difference) if keys]
    if rows:
        table(("", "kind", "keys"), rows)
    if version is None:
        say("no difference" if difference.empty else "nothing was changed")
    else:
        say(f"revision {version} in force; running brokers follow within a second")


def _of_grants(difference: Difference) -> list[tuple[str, str, tuple[str, ...]]]:
    """What happens to grants beside coming into force and going out of it with the directory."""
    return [
        ("~", "paused grants: declared otherwise, anew or no more", difference.paused),
        ("~", "grants that go to another provider with their interface", difference.moved),
        ("-", "requested grants revoked: consumer, interface or provider gone", difference.ended),
        ("!", "grants withheld: paused, revoked or expired", difference.withheld),
    ]


def _some(keys: tuple[str, ...], most: int = 8) -> str:
    more = len(keys) - most
    return ", ".join(keys[:most]) + (f" and {more} more" if more > 0 else "")
