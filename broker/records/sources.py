"""Rows for a base out of files and databases: CSV (UTF-8, GB18030 or another encoding), JSON lines, Parquet, a SQL query.

Everything becomes text, for the base's schema says what it means. Files are streamed; nothing holds one whole. What must not
go in here: what a row must be (rows.py). Imported by who loads, not by who serves.
"""

from __future__ import annotations

import codecs
import datetime as dt
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from decimal import Decimal
from pathlib import Path
from typing import Any, BinaryIO, NamedTuple, Self

import msgspec
import pyarrow as pa
import pyarrow.csv
import pyarrow.parquet
import sqlalchemy
from sqlalchemy.exc import SQLAlchemyError

from broker.errors import DirectoryUnusable, RecordsRefused
from broker.model.catalogue import BaseDeclaration
from broker.records.load import Source
from broker.records.store import names_of

_LOOK_BYTES = 1 << 20
_BLOCK_BYTES = 4 << 20
_ROWS_A_BATCH = 50_000
_JSON = (".jsonl", ".ndjson")
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC
_EXACT = 2**53  # beyond, a float is not one whole number
_ENCODINGS = ("utf-8", "gb18030")  # tried in this order, where none is given

Advance = Callable[[float], None]  # is told the share of a file that has been read
Written = Mapping[str, str | None]


class Table(NamedTuple):
    """Columns, and rows by their names."""

    columns: tuple[str, ...]
    rows: Iterator[dict[str, Any]]


class Wanted(NamedTuple):
    """What rows are read for: a base, and the fields that there must be columns for."""

    base: BaseDeclaration
    fields: tuple[str, ...]

    @classmethod
    def records(cls, base: BaseDeclaration) -> Wanted:
        """Whole records."""
        return cls(base, tuple(name for name, field in base.fields.items() if field.required))

    @classmethod
    def keys(cls, base: BaseDeclaration) -> Wanted:
        """Their keys."""
        return cls(base, base.key)


def from_file(wanted: Wanted, path: Path, encoding: str, advance: Advance) -> Source:
    """Open a file.

    Raises:
        DirectoryUnusable: it cannot be read.
        RecordsRefused: it is of an unknown kind, not in its encoding, not what its name says, or lacks a required column.
    """
    kind = path.suffix.lower()
    if kind not in (*_READERS, *_JSON):
        raise RecordsRefused(f"{path.name}: must be one of {', '.join(sorted((*_READERS, *_JSON)))}")
    try:
        if kind in _JSON:
            path.stat()
            return _of_objects(wanted, path.name, json_rows(path, advance))
        return _source(wanted, path.name, _READERS[kind](path, encoding, advance))
    except OSError as error:
        raise DirectoryUnusable(f"{path}: cannot be read ({error.strerror or error})") from error


def from_query(wanted: Wanted, url: sqlalchemy.URL, query: str) -> Source:
    """Run a query whose columns are fields.

    Raises:
        RecordsRefused: the database cannot be asked, or a required column is missing.
    """
    return _source(wanted, "query", _query_table(url, query))


def _source(wanted: Wanted, name: str, table: Table) -> Source:
    names = names_of(wanted.base)
    fields = [names[column] for column in table.columns if column in names]
    missing = [field for field in wanted.fields if field not in fields]
    if missing:
        raise RecordsRefused(f"{name}: lacks columns that base `{wanted.base.id}` requires: {', '.join(missing)}")
    if len(set(fields)) < len(fields):
        raise RecordsRefused(f"{name}: two columns are the same field of base `{wanted.base.id}`")
    left_out: dict[str, None] = {column: None for column in table.columns if column not in names}
    return Source(name, _by_field(name, names, table.rows, left_out), left_out.keys())


def _by_field(
    name: str, names: Mapping[str, str], rows: Iterable[Mapping[str, Any]], left_out: dict[str, None]
) -> Iterator[Written]:
    """Yield rows by the names of fields; notes columns that are none."""
    try:
        for row in rows:
            left_out.update(dict.fromkeys(row.keys() - names.keys()))
            written = {names[column]: as_text(value) for column, value in row.items() if column in names}
            if len(written) < len(row.keys() & names.keys()):
                raise RecordsRefused(f"{name}: two columns are the same field")
            yield written
    except OSError as error:
        raise DirectoryUnusable(f"{name}: cannot be read ({error.strerror or 'it ends too soon'})") from None
    except (pa.ArrowException, ValueError, LookupError, OverflowError, msgspec.MsgspecError, SQLAlchemyError) as error:
        raise RecordsRefused(f"{name}: {without_values(error)}") from None


def without_values(error: Exception) -> str:
    """Say what is wrong with a file; what a library says of it may quote it."""
    if isinstance(error, UnicodeError) or "UTF8" in str(error):
        return "is not in the encoding that was given or found out; say which with --encoding"
    return "is not what its name says, damaged, or holds what is neither text nor a number nor a date"


def as_text(value: Any) -> str | None:
    """Write a value as text. Raises ValueError for what has no text that everybody would write."""
    if value is None or isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime | dt.date):
        return value.isoformat()
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    if isinstance(value, int | Decimal) or (isinstance(value, float) and "e" not in repr(value) and math.isfinite(value)):
        return str(value)
    raise ValueError


# --- CSV ----------------------------------------------------------------------------------------------------------------


def csv_batches(path: Path, encoding: str, advance: Advance) -> Any:
    """Open a CSV file as a stream of Arrow batches (with a `schema`) whose columns are all text; "" finds the encoding out.

    What is wrong further on is raised by who reads, as `ArrowInvalid` or `UnicodeError`.

    Raises:
        OSError: it cannot be read.
        RecordsRefused: it is not in its encoding, or not CSV with a name for each column.
    """
    found = encoding or _found_out(path)
    try:
        with _csv_reader(path, found, (), lambda _: None) as first:
            names = first.schema.names
        reader = _csv_reader(path, found, names, advance)
    except (pa.ArrowInvalid, UnicodeError, LookupError) as error:
        raise RecordsRefused(f"{path.name}: {without_values(error)}") from None
    if len(set(names)) < len(names):
        raise RecordsRefused(f"{path.name}: two columns have one name")
    return reader


def _csv_table(path: Path, encoding: str, advance: Advance) -> Table:
    reader = csv_batches(path, encoding, advance)
    return Table(tuple(reader.schema.names), (row for batch in reader for row in batch.to_pylist()))


def _csv_reader(path: Path, encoding: str, names: Sequence[str], advance: Advance) -> Any:
    """Open a file whose columns have these names: as text, or what is a number would lose its zeros."""
    with path.open("r", encoding=encoding, errors="replace", newline="") as file:
        heading = next((line for line in file if line.strip()), "")
    return pa.csv.open_csv(
        _Counted(path, advance),
        read_options=pa.csv.ReadOptions(encoding=encoding, block_size=_BLOCK_BYTES),
        parse_options=pa.csv.ParseOptions(delimiter=max(",;\t", key=heading.count), newlines_in_values=True),
        convert_options=pa.csv.ConvertOptions(
            column_types=dict.fromkeys(names, pa.string()), null_values=[""], strings_can_be_null=True, check_utf8=True
        ),
    )


def _found_out(path: Path) -> str:
    """The first encoding in which the beginning of a file can be read."""
    with path.open("rb") as file:
        beginning = file.read(_LOOK_BYTES)
    for encoding in _ENCODINGS:
        try:
            codecs.getincrementaldecoder(encoding)().decode(beginning)
        except UnicodeError:
            continue
        return encoding
    raise RecordsRefused(f"{path.name}: is neither UTF-8 nor GB18030; say which encoding it has with --encoding")


class _Counted:
    """A file that tells how far it has been read."""

    def __init__(self, path: Path, advance: Advance) -> None:
        self._file: BinaryIO = path.open("rb")
        self._bytes = max(1, path.stat().st_size)
        self._advance = advance
        self.closed = False

    def read(self, size: int = -1) -> bytes:
        """Read as a file does."""
        data = self._file.read(size)
        self._advance(self._file.tell() / self._bytes)
        return data

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        self.closed = True

    def readable(self) -> bool:
        """It is."""
        return True


# --- JSON lines, Parquet, SQL -------------------------------------------------------------------------------------------


_JSON_ROW = msgspec.json.Decoder(dict[str, str | int | float | bool | None])


def from_lines(wanted: Wanted, lines: Iterable[bytes]) -> Source:
    """Read JSON objects, one a line."""
    rows = (_JSON_ROW.decode(line) for line in lines if line.strip())
    return _of_objects(wanted, "-", rows)


def _of_objects(wanted: Wanted, name: str, rows: Iterable[Mapping[str, Any]]) -> Source:
    """Rows that each have columns of their own, or leave them out."""
    left_out: dict[str, None] = {}
    return Source(name, _by_field(name, names_of(wanted.base), rows, left_out), left_out.keys())


def json_rows(path: Path, advance: Advance) -> Iterator[dict[str, Any]]:
    """Yield the objects of a file of JSON lines."""
    total, done = max(1, path.stat().st_size), 0
    with path.open("rb") as file:
        for number, line in enumerate(file):
            done += len(line)
            if line.strip():
                yield _JSON_ROW.decode(line)
            if number % 10_000 == 0:
                advance(done / total)


def _parquet_table(path: Path, _encoding: str, advance: Advance) -> Table:
    try:
        file = pa.parquet.ParquetFile(path)
    except pa.ArrowInvalid as error:
        raise RecordsRefused(f"{path.name}: {without_values(error)}") from None
    return Table(tuple(file.schema_arrow.names), _parquet_rows(file, advance))


def _parquet_rows(file: pa.parquet.ParquetFile, advance: Advance) -> Iterator[dict[str, Any]]:
    total, done = max(1, file.metadata.num_rows), 0
    for batch in file.iter_batches(batch_size=_ROWS_A_BATCH):
        yield from batch.to_pylist()
        done += batch.num_rows
        advance(done / total)


def _query_table(url: sqlalchemy.URL, query: str) -> Table:
    try:
        connection = sqlalchemy.create_engine(url).connect().execution_options(stream_results=True, yield_per=_ROWS_A_BATCH)
        result = connection.execute(sqlalchemy.text(query))
        return Table(tuple(result.keys()), (dict(row) for row in result.mappings()))
    except (SQLAlchemyError, ImportError) as error:
        raise RecordsRefused(f"the database cannot be asked ({type(error).__name__})") from None


_READERS: Mapping[str, Callable[[Path, str, Advance], Table]] = {
    ".csv": _csv_table,
    ".tsv": _csv_table,
    ".parquet": _parquet_table,
}


# --- and back -----------------------------------------------------------------------------------------------------------


def write(into: Path, names: Sequence[str], records: Iterable[Written]) -> int:
    """Write records to a file of the kind its name says; returns how many.

    Raises:
        RecordsRefused: it is of an unknown kind.
        DirectoryUnusable: it cannot be written.
    """
    schema = pa.schema([(name, pa.string()) for name in names])
    return write_batches(into, schema, (pa.RecordBatch.from_pylist(batch, schema=schema) for batch in _batches(records)))


def write_batches(into: Path, schema: pa.Schema, batches: Iterable[pa.RecordBatch]) -> int:
    """Write Arrow batches likewise; the file is there when it is whole, and for its owner only.

    Raises:
        RecordsRefused: it is of an unknown kind.
        DirectoryUnusable: it cannot be written.
    """
    writer = _WRITERS.get(into.suffix.lower())
    if writer is None:
        raise RecordsRefused(f"{into.name}: must be one of {', '.join(sorted(_WRITERS))}")
    part = into.with_name(f".{into.name}.part")
    try:
        with os.fdopen(os.open(part, _NEW_FILE, 0o600), "wb") as file:  # who may read a base is not everybody
            with writer(file, schema) as sink:
                written = sum(_write_batch(sink, batch) for batch in batches)
            file.flush()
            os.fsync(file.fileno())
        part.replace(into)
        return written
    except OSError as error:
        raise DirectoryUnusable(f"{into}: cannot be written ({error.strerror or error})") from error
    finally:
        part.unlink(missing_ok=True)


def _batches(records: Iterable[Written]) -> Iterator[list[Written]]:
    rest = iter(records)
    while batch := list(itertools.islice(rest, _ROWS_A_BATCH)):
        yield batch


def _write_batch(sink: Any, batch: pa.RecordBatch) -> int:
    sink.write_batch(batch)
    return int(batch.num_rows)


class _JsonLines:
    """Writes batches as JSON objects, one a line."""

    def __init__(self, file: BinaryIO, _schema: pa.Schema) -> None:
        self._file = file

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write every row."""
        for row in batch.to_pylist():
            self._file.write(msgspec.json.encode(row) + b"\n")

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        pass


_WRITERS: Mapping[str, Callable[[BinaryIO, pa.Schema], Any]] = {
    ".csv": pa.csv.CSVWriter,
    ".jsonl": _JsonLines,
    ".parquet": pa.parquet.ParquetWriter,
}
