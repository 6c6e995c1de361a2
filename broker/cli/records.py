"""`broker records`: load record bases, change them, look at them.

Operators' commands: they work on the bases themselves and need no running broker; a running one sees what they do at once.
Keys and values come from files or standard input, never as arguments, which every user of the machine can see.
"""

from __future__ import annotations

import csv
import datetime as dt
import functools
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer
from rich.progress import Progress
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from broker.cli.arguments import checked_encoding as _checked
from broker.cli.output import ConfigFile, Json, emit, fail, load_config, say, table
from broker.cli.progress import advance as _advance
from broker.cli.progress import bars as _bars
from broker.config import Config
from broker.errors import BaseUnusable, ConfigurationError, DirectoryUnusable, RecordsRefused
from broker.model.catalogue import BaseDeclaration
from broker.policy.store import open_control
from broker.records import change, sources
from broker.records.index_check import IndexFacts, facts_of, problems
from broker.records.load import BadRow, Loaded, Source, load
from broker.records.packing import PACKINGS
from broker.records.sources import Wanted
from broker.records.store import Store, open_store

app = typer.Typer(help="Record bases: load, change, check, export.", no_args_is_help=True)

_STANDARD_INPUT = Path("-")
_MOST_SHOWN = 20  # of the problems

Base = Annotated[str, typer.Argument(help="Identifier of the base, as the catalogue declares it.")]
Files = Annotated[list[Path] | None, typer.Argument(help="Files: .csv, .tsv, .jsonl, .parquet; - for JSON lines as input.")]
Encoding = Annotated[str, typer.Option(help="Of CSV files, e.g. gb18030; found out without.")]
BadRows = Annotated[Path | None, typer.Option("--bad-rows", help="Write what is wrong to this file, .csv or .json.")]
AllowBad = Annotated[int, typer.Option("--allow-bad", min=0, help="So many wrong rows may be left out.")]
FromSql = Annotated[str, typer.Option("--from-sql", help="Read this database (SQLAlchemy URL without a password) instead.")]
Query = Annotated[str, typer.Option("--query", help="With --from-sql: a SELECT whose columns are fields.")]
PasswordFile = Annotated[Path | None, typer.Option("--password-file", help="With --from-sql: holds the password.")]


@app.command("load")
def load_(
    base: Base,
    files: Files = None,
    encoding: Encoding = "",
    from_sql: FromSql = "",
    query: Query = "",
    password_file: PasswordFile = None,
    bad_rows: BadRows = None,
    allow_bad: AllowBad = 0,
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Replace what a base holds; readers see the new records all at once, and until then the old."""
    if bool(files) == bool(from_sql) or bool(query) != bool(from_sql):
        raise typer.BadParameter("name files, or --from-sql and --query")
    config, declared = _declared(file, base)
    wanted = Wanted.records(declared)
    with _refusals(bad_rows), _bars() as bars:
        given = _opened(bars, wanted, files or [], encoding)
        if from_sql:
            given.append(sources.from_query(wanted, _url(from_sql, password_file), query))
        loaded = load(config, declared, given, most_bad_rows=allow_bad, indexing=functools.partial(_indexing, bars))
    _write_bad_rows(bad_rows, loaded.problems)
    what = {"stored": loaded.stored, "bytes": loaded.bytes}
    _tell(base, given, loaded, what | ({"index_bytes": loaded.index_bytes} if loaded.index_bytes else {}), json)


@app.command("index")
def index_(base: Base, file: ConfigFile = None, json: Json = False) -> None:
    """Build the query index of a base anew out of its records; readers see it when it is whole, and until then the old."""
    config, declared = _declared(file, base)
    with _refusals(None), _bars() as bars:
        built = change.index(config, declared, lambda records: _indexing(bars, records))
    if json:
        emit({"base": base, **built._asdict()})
        return
    say(f"{base}: {built.records} records indexed, {built.bytes / (1 << 20):.1f} MiB")
    if built.dropped_keys:
        say(f"  {built.dropped_keys} keys are shared by too many records to find one by")


@app.command()
def upsert(
    base: Base,
    files: Files = None,
    encoding: Encoding = "",
    bad_rows: BadRows = None,
    allow_bad: AllowBad = 0,
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Put records into a base, replacing those with the same key; seen at once."""
    config, declared = _declared(file, base)
    with _refusals(bad_rows), _bars() as bars:
        given = _opened(bars, Wanted.records(declared), files or [], encoding)
        changed = change.upsert(config, declared, given, most_bad_rows=allow_bad)
    _write_bad_rows(bad_rows, changed.read.problems)
    _tell(base, given, changed.read, {"added": changed.added, "replaced": changed.replaced}, json)


@app.command()
def delete(
    base: Base,
    files: Files = None,
    encoding: Encoding = "",
    bad_rows: BadRows = None,
    allow_bad: AllowBad = 0,
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Take records out of a base, by files that hold their keys; seen at once."""
    config, declared = _declared(file, base)
    with _refusals(bad_rows), _bars() as bars:
        given = _opened(bars, Wanted.keys(declared), files or [], encoding)
        changed = change.delete(config, declared, given, most_bad_rows=allow_bad)
    _write_bad_rows(bad_rows, changed.read.problems)
    _tell(base, given, changed.read, {"removed": changed.removed, "absent": changed.absent}, json)


@app.command()
def stat(file: ConfigFile = None, json: Json = False) -> None:
    """Show what every base holds, and why one cannot be read."""
    config, bases = _bases(file)
    facts = [_fact(config, base) for base in bases.values()]
    if json:
        emit({"bases": facts})
        return
    columns = ("base", "records", "MiB", "loaded at", "state", "index")
    table(columns, [(f["base"], f["records"], f["mib"], f["loaded_at"], f["state"], _told(f.get("index"))) for f in facts])


@app.command()
def check(base: Base, file: ConfigFile = None, json: Json = False) -> None:
    """Read every record of a base and say whether it is whole."""
    config, declared = _declared(file, base)
    with _refusals(None), _reading(config, declared) as store, _progress_of("checking", len(store)) as done:
        damaged = sum(map(done, store.damaged()))
        if damaged:
            raise RecordsRefused(f"base `{base}`: {damaged} of {len(store)} records are damaged; load it again")
        records = len(store)
    with _refusals(None), _reading(config, declared) as store:
        indexed = _check_index(store, declared)
    if json:
        emit({"base": base, "records": records, "damaged": 0, "index": "whole" if indexed else "none"})
    else:
        say(f"{records} records, all whole{', and so is their index' if indexed else ''}")


@app.command()
def export(
    base: Base,
    into: Annotated[Path, typer.Option("--into", help="File to write: .csv (UTF-8), .jsonl or .parquet.")],
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Write all records of a base to a file, as they stood at one moment; what it writes can be loaded."""
    config, declared = _declared(file, base)
    with _refusals(None), _reading(config, declared) as store, _progress_of("exporting", len(store)) as done:
        names = tuple(store.about.base.fields)
        written = sources.write(into, names, (done(record) for _, record in store))
    emit({"base": base, "records": written, "file": str(into)}) if json else say(f"{written} records written to {into}")


# --- what the commands share --------------------------------------------------------------------------------------------


def _bases(file: Path | None) -> tuple[Config, dict[str, BaseDeclaration]]:
    config = load_config(file)
    control = open_control(config)
    try:
        return config, {base.id: base for base in control.read()[1].bases}
    finally:
        control.close()


def _declared(file: Path | None, name: str) -> tuple[Config, BaseDeclaration]:
    config, bases = _bases(file)
    if name not in bases:
        known = ", ".join(sorted(bases)) or "none"
        raise ConfigurationError(f"no base `{name}` is declared in the catalogue in force; declared are: {known}")
    return config, bases[name]


def _url(text: str, password_file: Path | None) -> URL:
    try:
        url = make_url(text)
        if url.password:
            raise ConfigurationError("--from-sql: must not contain a password; use --password-file")
        return url.set(password=password_file.read_text(encoding="utf-8").strip()) if password_file else url
    except ArgumentError:
        raise ConfigurationError("--from-sql: is not a SQLAlchemy URL, such as postgresql+psycopg://user@host/city") from None
    except OSError as error:
        raise ConfigurationError(f"--password-file: cannot be read ({error.strerror})") from None


def _opened(bars: Progress, wanted: Wanted, files: list[Path], encoding: str) -> list[Source]:
    """Open files, with a progress bar for each where there is a terminal."""
    given = []
    for path in files:
        if path == _STANDARD_INPUT:
            given.append(sources.from_lines(wanted, sys.stdin.buffer))
            continue
        task = bars.add_task(path.name, total=1.0)
        advance = functools.partial(_advance, bars, task)
        given.append(sources.from_file(wanted, path, _checked(encoding), advance))
    return given


@contextmanager
def _progress_of(what: str, total: int) -> Iterator[Callable[[Any], Any]]:
    """Count what passes through the function that is given."""
    with _bars() as bars:
        task = bars.add_task(what, total=total)

        def done(passed: Any) -> Any:
            bars.advance(task)
            return passed

        yield done


@contextmanager
def _reading(config: Config, base: BaseDeclaration) -> Iterator[Store]:
    store = open_store(config, base, readonly=True)
    try:
        yield store
    finally:
        store.close()


@contextmanager
def _refusals(bad_rows: Path | None) -> Iterator[None]:
    """Tell what is wrong with rows, and say by an exit code of its own that a base cannot be read."""
    try:
        yield
    except RecordsRefused as error:
        _write_bad_rows(bad_rows, error.problems)
        more = len(error.problems) - _MOST_SHOWN
        hint = [f"and {more} more; --bad-rows FILE lists all"] if more > 0 else []
        fail(error, [*map(str, error.problems[:_MOST_SHOWN]), *hint])
    except BaseUnusable as error:
        raise DirectoryUnusable(error.why) from error


def _write_bad_rows(file: Path | None, bad: Sequence[tuple[str, int, str, str]]) -> None:
    if file is None:
        return
    try:
        if file.suffix.lower() == ".json":
            told = [dict(zip(BadRow._fields, row, strict=True)) for row in bad]
            file.write_bytes(msgspec.json.format(msgspec.json.encode(told), indent=2) + b"\n")
            return
        with file.open("w", encoding="utf-8-sig", newline="") as stream:
            writer = csv.writer(stream)
            writer.writerow(BadRow._fields)
            writer.writerows(bad)
    except OSError as error:
        raise DirectoryUnusable(f"{file}: cannot be written ({error.strerror})") from error


def _tell(base: str, given: list[Source], read: Loaded, what: dict[str, int], json: bool) -> None:
    left_out = {source.name: list(source.left_out) for source in given if source.left_out}
    facts = {"base": base, "rows": read.rows, "bad_rows": read.bad_rows, **what, "kept_as_written": read.unusual}
    if json:
        emit({**facts, "left_out_columns": left_out})
        return
    say(f"{base}: {read.rows} rows, " + ", ".join(f"{count} {name}" for name, count in what.items()))
    for name, columns in left_out.items():
        say(f"  {name}: columns that mean nothing here: {', '.join(columns)}")
    for name, count in read.unusual.items():
        say(f"  {name}: {count} values are not as their type has them; kept as written")
    if read.bad_rows:
        say(f"  {read.bad_rows} rows were wrong and left out")


def _told(index: IndexFacts | None) -> str:
    if index is None:
        return ""
    since = f", {index.changes} of {index.room} changes" if index.changes else ""
    return index.state if not index.mib else f"{index.state}: {index.mib} MiB of {index.built_at}{since}"


def _check_index(store: Store, base: BaseDeclaration) -> bool:
    """Check the index, if the base has one. Raises RecordsRefused."""
    packer = PACKINGS.packer(base.search)
    if packer is None:
        return False
    with _bars() as bars:
        found = problems(store, packer, _indexing(bars, len(store)))
    if found:
        raise RecordsRefused(f"base `{base.id}`: its index is wrong: {'; '.join(found)}; run `broker records index`")
    return True


def _indexing(bars: Progress, records: int) -> Callable[[int], None]:
    task = bars.add_task("index", total=records)
    return lambda done: bars.advance(task, done)


def _fact(config: Config, base: BaseDeclaration) -> dict[str, Any]:
    try:
        with _reading(config, base) as store:
            loaded = dt.datetime.fromtimestamp(store.about.loaded_at_ms // 1000, dt.UTC).isoformat()
            mib = f"{store.disk_bytes / (1 << 20):.1f}"
            fact = {"base": base.id, "records": str(len(store)), "mib": mib, "loaded_at": loaded, "state": "ok"}
            packer = PACKINGS.packer(base.search)
            return fact | ({"index": facts_of(store, packer)} if packer else {})
    except BaseUnusable as error:
        return {"base": base.id, "records": "", "mib": "", "loaded_at": "", "state": error.why}
