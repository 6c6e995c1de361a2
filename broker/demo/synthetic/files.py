"""The files of a population on disk: Parquet, CSV, or CSV in GB 18030, as most departments still hand it over.

A file goes to a name of its own and is renamed when all are complete, so that a population that was interrupted is never taken
for one. What must not go in here: what is in the files (registers.py, companies.py).
"""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from enum import StrEnum
from pathlib import Path
from typing import Any, Protocol

import pyarrow as pa
import pyarrow.csv as pv
import pyarrow.parquet as pq

ROW_GROUP = 65_536
# Columns whose values come again and again. A dictionary of the others costs as much as the people themselves.
_REPEATED = frozenset(("sex", "birth_date", "ethnicity", "status", "source", "case", "errors", "kind", "established_on"))
_CSV = pv.WriteOptions(quoting_style="needed")  # tells null from the empty text


class Format(StrEnum):
    """How a file is written."""

    PARQUET = "parquet"
    CSV = "csv"
    CSV_GB18030 = "csv-gb18030"


SUFFIXES: dict[Format, str] = {Format.PARQUET: ".parquet", Format.CSV: ".csv", Format.CSV_GB18030: ".csv"}


class Sink(Protocol):
    """Where the batches of one file go."""

    def write_batch(self, batch: pa.RecordBatch) -> None:
        """Write some rows."""

    def close(self) -> None:
        """Write what belongs at the end."""


class _Gb18030Writer:
    """CSV in GB 18030-2000, as Python and most databases have it: every character of Unicode has a form in it."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        self._file = path.open("wb")
        self._file.write(_csv(pa.RecordBatch.from_pylist([], schema), header=True))

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._file.write(_csv(batch, header=False))

    def close(self) -> None:
        self._file.close()


def _csv(batch: pa.RecordBatch, *, header: bool) -> bytes:
    written = io.BytesIO()
    pv.write_csv(pa.Table.from_batches([batch]), written, pv.WriteOptions(include_header=header, quoting_style="needed"))
    return written.getvalue().decode().encode("gb18030")


class _ParquetWriter:
    """Parquet in row groups of one size, so that the same rows are the same bytes however they came."""

    def __init__(self, path: Path, schema: pa.Schema) -> None:
        repeated = [name for name in schema.names if name in _REPEATED]
        self._writer = pq.ParquetWriter(path, schema, compression="snappy", use_dictionary=repeated)

    def write_batch(self, batch: pa.RecordBatch) -> None:
        self._writer.write_batch(batch, row_group_size=ROW_GROUP)

    def close(self) -> None:
        self._writer.close()


_WRITERS: dict[Format, Callable[[Path, pa.Schema], Sink]] = {
    Format.PARQUET: _ParquetWriter,
    Format.CSV: lambda path, schema: pv.CSVWriter(path, schema, write_options=_CSV),
    Format.CSV_GB18030: _Gb18030Writer,
}


def write(
    directory: Path,
    schemas: Mapping[Any, pa.Schema],
    made: Iterable[Mapping[Any, pa.RecordBatch]],
    form: Format = Format.PARQUET,
    progress: Callable[[int], None] = lambda rows: None,
) -> dict[str, int]:
    """Write the files named by the keys of the schemas; return the rows of each.

    Progress is told the rows of the first file so far. Files of these names are replaced, and left alone if this fails.

    Raises:
        OSError: the directory cannot be written to.
    """
    directory.mkdir(parents=True, exist_ok=True)
    rows = dict.fromkeys(schemas, 0)
    with _finished(directory, [f"{name}{SUFFIXES[form]}" for name in schemas]) as paths, ExitStack() as open_sinks:
        sinks = {}
        for (name, schema), path in zip(schemas.items(), paths, strict=True):
            sinks[name] = _WRITERS[form](path, schema)
            open_sinks.callback(sinks[name].close)
        for batches in made:
            for name, batch in batches.items():
                sinks[name].write_batch(batch)
                rows[name] += batch.num_rows
            progress(rows[next(iter(rows))])
    return {str(name): count for name, count in rows.items()}


@contextmanager
def _finished(directory: Path, names: list[str]) -> Iterator[list[Path]]:
    """Give unfinished files for names; they get them once all is written, and go if it is not."""
    unfinished = [directory / f".{name}.new" for name in names]
    try:
        yield unfinished
        for path, name in zip(unfinished, names, strict=True):
            path.replace(directory / name)
    finally:
        for path in unfinished:
            path.unlink(missing_ok=True)
