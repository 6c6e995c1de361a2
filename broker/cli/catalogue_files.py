"""`broker catalogue import` and `export`: between a catalogue and the files that other systems and people have it in."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Annotated

import msgspec
import typer
from rich.console import Console
from rich.progress import Progress, TaskID

from broker.cli.output import ConfigFile, Json, emit, load_config, say
from broker.errors import CatalogueRefused, DirectoryUnusable
from broker.policy import directory, export, resource_rows, spreadsheet
from broker.policy.resource_rows import BadRow, Found, Surroundings
from broker.policy.spreadsheet import Row
from broker.policy.store import open_control

_MOST_SHOWN = 50
_UNUSUAL = re.compile(r"[^\w.-]+")  # in the name of a file
_progress = Console(stderr=True)

Files = Annotated[list[Path], typer.Argument(help="CSV or XLSX files of resources.")]
Into = Annotated[Path, typer.Option("--into", help="Catalogue directory; each file becomes resources-<name>.toml in it.")]
Encoding = Annotated[str, typer.Option(help="Of CSV files, e.g. gb18030; found out without.")]
BadRows = Annotated[Path | None, typer.Option("--bad-rows", help="Write what is wrong to this file, .csv or .json.")]
SkipBad = Annotated[bool, typer.Option("--skip-bad", help="Write the resources that are right even if others are not.")]


def import_(
    files: Files,
    into: Into,
    encoding: Encoding = "",
    bad_rows: BadRows = None,
    skip_bad: SkipBad = False,
    json: Json = False,
) -> None:
    """Read resources from CSV and XLSX files into a catalogue directory; nothing is put in force yet."""
    _check_encoding(encoding)
    targets = {file: into / f"resources-{_UNUSUAL.sub('-', file.stem)}.toml" for file in files}
    if len(set(targets.values())) < len(targets):
        raise typer.BadParameter("two files of the same name would become the same file")
    found = _read_all(targets, into, encoding)
    bad = [row for one in found.values() for row in one.bad]
    if bad_rows is not None:
        _write_bad_rows(bad_rows, bad)
    if bad and not skip_bad:
        shown = [str(row) for row in bad[:_MOST_SHOWN]]
        more = [f"and {len(bad) - _MOST_SHOWN} more; --bad-rows FILE lists all"] if len(bad) > _MOST_SHOWN else []
        raise CatalogueRefused((*shown, *more))
    # An import of nothing would put an empty file in place of what an earlier one wrote.
    empty = tuple(f"{file.name}: no resource is left to write" for file, one in found.items() if not one.resources)
    if empty:
        raise CatalogueRefused(empty)
    _write_resources({targets[file]: one for file, one in found.items()})
    _tell({file: (targets[file], one) for file, one in found.items()}, json)


def _check_encoding(encoding: str) -> None:
    try:
        "".encode(encoding or "utf-8")
    except (LookupError, UnicodeError):
        raise typer.BadParameter("--encoding: is not the name of an encoding") from None


def _read_all(targets: dict[Path, Path], into: Path, encoding: str) -> dict[Path, Found]:
    around = _surroundings(into, {target.name for target in targets.values()})
    found = {}
    with Progress(console=_progress, transient=True, disable=not _progress.is_terminal) as progress:
        for file in targets:
            sheet = spreadsheet.read(file, encoding)
            task = progress.add_task(f"reading {file.name}", total=sheet.about)
            found[file] = resource_rows.resources_of(file.name, _counted(sheet.rows, progress, task), around)
            around = around._replace(taken={**around.taken, **{r.code: file.name for r in found[file].resources}})
    return found


def _counted(rows: Iterable[Row], progress: Progress, task: TaskID) -> Iterator[Row]:
    for row in rows:
        progress.update(task, completed=row.number)
        yield row


def _surroundings(into: Path, replaced: set[str]) -> Surroundings:
    """Read what is in the directory already, but for the files that are about to be replaced."""
    contents = directory.read(into)
    if contents.problems:
        raise CatalogueRefused(tuple(contents.problems))
    providers = {located.value.id: located.value.name for located in contents.entries["providers"]}
    resources = (located for located in contents.entries["resources"] if located.where.partition(":")[0] not in replaced)
    return Surroundings(providers, {located.value.code: located.where for located in resources})


def _write_bad_rows(file: Path, bad: list[BadRow]) -> None:
    try:
        if file.suffix.lower() == ".json":
            file.write_bytes(msgspec.json.format(msgspec.json.encode(bad), indent=2) + b"\n")
            return
        with file.open("w", encoding="utf-8-sig", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(("file", "row", "column", "rule"))
            writer.writerows(map(msgspec.structs.astuple, bad))
    except OSError as error:
        raise DirectoryUnusable(f"{file}: cannot be written ({error.strerror})") from error


def _write_resources(found: dict[Path, Found]) -> None:
    for target, one in found.items():
        try:
            export.write_values(target, "resources", one.resources)
        except OSError as error:
            raise DirectoryUnusable(f"{target}: cannot be written ({error.strerror})") from error


def _tell(found: dict[Path, tuple[Path, Found]], json: bool) -> None:
    facts = [
        {
            "file": str(file),
            "rows": one.rows,
            "resources": len(one.resources),
            "bad": len(one.bad),
            "ignored_columns": one.ignored,
            "written": str(target),
        }
        for file, (target, one) in found.items()
    ]
    if json:
        emit({"files": facts})
        return
    for file, (target, one) in found.items():
        say(f"{file}: {one.rows} rows, {len(one.resources)} resources written to {target}")
        if one.ignored:
            say(f"  columns that mean nothing here: {', '.join(one.ignored)}")
        if one.bad:
            say(f"  {len(one.bad)} problems; the resources that have them were left out")


Target = Annotated[Path, typer.Argument(help="Directory to write, new or without TOML files.")]
ResourcesCsv = Annotated[Path | None, typer.Option("--resources-csv", help="Write the resources to this CSV file too.")]


def export_(path: Target, resources_csv: ResourcesCsv = None, file: ConfigFile = None, json: Json = False) -> None:
    """Write what is in force as a catalogue directory that, applied, changes nothing; requested grants are not in it."""
    control = open_control(load_config(file))
    try:
        catalogue = export.declared(control.database)
    finally:
        control.close()
    written = export.write(catalogue, path)
    if resources_csv is not None:
        spreadsheet.write(resources_csv, resource_rows.rows_of(catalogue.resources))
        written.append(resources_csv)
    counts = {kind: len(getattr(catalogue, kind)) for kind in directory.KINDS}
    if json:
        emit({"files": [str(one) for one in written], **counts})
    else:
        say(f"{path}: " + ", ".join(f"{number} {kind}" for kind, number in counts.items()))
