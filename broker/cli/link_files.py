"""Tables to be linked out of files, and pairs and clusters into files.

What must not go in here: which columns are compared (link_fields.py), and the command (link.py).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet

from broker.errors import DirectoryUnusable, RecordsRefused, TablesRefused
from broker.linkage import Decision
from broker.linkage.links import RowNumbers
from broker.linkage.outcome import Outcome
from broker.linkage.wording import names_of_levels
from broker.records import sources
from broker.records.sources import Advance

KINDS_OF_FILE = (".csv", ".jsonl", ".parquet")
_ROWS_A_BATCH = 50_000


def read(path: Path, encoding: str, advance: Advance) -> pa.Table:
    """Read a table whose columns are all text; null and "" are missing.

    Raises:
        DirectoryUnusable: it cannot be read.
        TablesRefused: it is of an unknown kind, not in its encoding, damaged, or has no rows.
    """
    reader = _READERS.get(path.suffix.lower())
    if reader is None:
        raise TablesRefused(f"{path.name}: must be one of {', '.join(sorted(_READERS))}")
    try:
        if path.stat().st_size == 0:
            raise TablesRefused(f"{path.name}: is empty")
        table = reader(path, encoding, advance)
    except RecordsRefused as error:
        raise TablesRefused(str(error)) from None
    except OSError as error:
        raise DirectoryUnusable(f"{path}: cannot be read ({error.strerror or 'it ends too soon'})") from None
    except (pa.ArrowException, ValueError, OverflowError, msgspec.MsgspecError) as error:
        raise TablesRefused(f"{path.name}: {sources.without_values(error)}") from None
    if table.num_rows == 0:
        raise TablesRefused(f"{path.name}: has a heading and no rows")
    return _named_apart(path, table.rename_columns([name.strip() for name in table.column_names]))


def _named_apart(path: Path, table: pa.Table) -> pa.Table:
    if len(set(table.column_names)) < table.num_columns:
        raise TablesRefused(f"{path.name}: two columns have one name")
    return table


def _csv(path: Path, encoding: str, advance: Advance) -> pa.Table:
    return sources.csv_batches(path, encoding, advance).read_all()


def _json_lines(path: Path, _encoding: str, advance: Advance) -> pa.Table:
    """Row by row: Arrow's own reader would take dates and numbers for what they are not."""
    columns: dict[str, list[str | None]] = {}
    count = 0
    for count, row in enumerate(sources.json_rows(path, advance), 1):
        for name, value in row.items():
            column = columns.setdefault(name, [])
            column += [None] * (count - 1 - len(column))
            column.append(sources.as_text(value))
    return pa.table(
        {name: pa.array([*column, *[None] * (count - len(column))], pa.string()) for name, column in columns.items()}
    )


def _parquet(path: Path, _encoding: str, advance: Advance) -> pa.Table:
    table = pa.parquet.read_table(path)
    advance(1.0)
    _named_apart(path, table)
    return pa.table({name: _text(table[name]) for name in table.column_names if _has_text(table[name].type)})


def _has_text(kind: Any) -> bool:
    """Whether values of a type can be written as one would write them; pictures, durations and lists are of no use here."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    return any(is_of(kind) for is_of in _WITH_TEXT)


def _text(column: Any) -> Any:
    """Write a column as text; a whole number that was kept as a float is a whole number, and a moment its day."""
    if pa.types.is_timestamp(column.type):
        column = column.cast(pa.date32(), safe=False)
    if pa.types.is_floating(column.type) and pc.all(pc.equal(column, pc.round(column))).as_py() is not False:
        column = column.cast(pa.int64())
    return column.cast(pa.string())


_WITH_TEXT = (
    pa.types.is_null,
    pa.types.is_string,
    pa.types.is_large_string,
    pa.types.is_string_view,
    pa.types.is_boolean,
    pa.types.is_integer,
    pa.types.is_floating,
    pa.types.is_decimal,
    pa.types.is_date,
    pa.types.is_timestamp,
)
_READERS: Mapping[str, Callable[[Path, str, Advance], pa.Table]] = {
    ".csv": _csv,
    ".tsv": _csv,
    ".jsonl": _json_lines,
    ".ndjson": _json_lines,
    ".parquet": _parquet,
}


# --- and back -----------------------------------------------------------------------------------------------------------


def check_names(given: Sequence[Path], out: Path, clusters: Path | None, report: Path | None) -> None:
    """Refuse files to be written before anything is done for them: those of another kind, and one that is named twice.

    Raises:
        TablesRefused: there is one.
    """
    written = [file for file in (out, clusters, report) if file is not None]
    places = [file.resolve() for file in (*given, *written)]
    for file in written:
        if places.count(file.resolve()) > 1:
            raise TablesRefused(f"{file.name}: is named for two things; what is written needs a file of its own")
    for file in (out, *([clusters] if clusters else [])):
        if file.suffix.lower() not in KINDS_OF_FILE:
            raise TablesRefused(f"{file.name}: must be one of {', '.join(KINDS_OF_FILE)}")


def write_pairs(into: Path, outcome: Outcome, keys: Mapping[str, pa.ChunkedArray]) -> int:
    """Write the pairs that are links or for review, likeliest first of each left row; returns how many.

    Columns are left_row and right_row (the first row is 1), left_key and right_key (of `keys`, as far as there are some),
    probability, decision, and for each field the name of its level.

    Raises:
        DirectoryUnusable: it cannot be written.
    """
    kept = np.flatnonzero(outcome.decisions != list(Decision).index(Decision.NONE))
    pairs = outcome.pairs.take(pa.array(kept))
    columns: dict[str, Any] = {f"{side}_row": pc.add(pairs[side].cast(pa.uint64()), 1) for side in ("left", "right")}
    columns |= {f"{side}_key": keys[side].take(pairs[side]) for side in ("left", "right") if side in keys}
    columns["probability"] = pc.round(pairs["probability"], 6)
    columns["decision"] = _named([decision.value for decision in Decision], outcome.decisions[kept])
    for field in outcome.schema.fields:
        columns[f"{field.name}_level"] = _named(names_of_levels(field.kind), pairs[field.name].to_numpy())
    return _write(into, pa.table(columns))


def write_clusters(into: Path, clusters: RowNumbers, key: pa.ChunkedArray | None) -> int:
    """Write for each row the first row of its cluster (the first row is 1), and the key; returns how many rows.

    Raises:
        DirectoryUnusable: it cannot be written.
    """
    columns: dict[str, Any] = {"row": pa.array(np.arange(1, len(clusters) + 1))}
    columns |= {} if key is None else {"key": key}
    columns["cluster"] = pa.array(clusters.astype(np.uint64) + 1)
    return _write(into, pa.table(columns))


def _write(into: Path, table: pa.Table) -> int:
    return sources.write_batches(into, table.schema, _batches(table))


def _batches(table: pa.Table) -> Iterator[pa.RecordBatch]:
    yield from table.combine_chunks().to_batches(max_chunksize=_ROWS_A_BATCH)


def _named(names: Sequence[str], places: Any) -> pa.Array:
    return pa.DictionaryArray.from_arrays(pa.array(places, pa.int32()), pa.array(names)).cast(pa.string())


def write_page(into: Path, page: str) -> None:
    """Write a page. Raises DirectoryUnusable where it cannot be written."""
    try:
        into.touch(mode=0o600)
        into.chmod(0o600)
        into.write_text(page, encoding="utf-8", errors="replace")  # a name of a file may be any bytes
    except OSError as error:
        raise DirectoryUnusable(f"{into}: cannot be written ({error.strerror or error})") from error
