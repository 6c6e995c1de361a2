"""Fills a new generation of a base with rows and lets it take the place of the one before, or changes nothing.

What must not go in here: where rows come from (sources.py), and what a row must be (rows.py).
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import lmdb
import msgspec

from broker.config import Config
from broker.errors import DirectoryUnusable, RecordsRefused
from broker.model.catalogue import BaseDeclaration
from broker.records import generations
from broker.records.index_build import Progress, build
from broker.records.packing import PACKINGS
from broker.records.rows import Problem, Row, pack, read_row
from broker.records.store import ABOUT, FORMAT, About, Store, directory_of, map_bytes

_ROWS_A_BATCH = 100_000  # sorted before they are put in, which keeps neighbours together, and one transaction
_MOST_PROBLEMS = 10_000  # kept; the others are counted


class Source(NamedTuple):
    """Rows of one file, by the names of fields, and which columns were left out."""

    name: str
    rows: Iterable[Mapping[str, str | None]]
    left_out: Collection[str] = ()  # known when all rows have been read


class BadRow(NamedTuple):
    """What is wrong with a field of a row; rows count from 1, without headings."""

    file: str
    row: int
    field: str
    rule: str

    def __str__(self) -> str:
        return f"{self.file}: row {self.row}: {self.field}: {self.rule}"


@dataclass
class Loaded:
    """What became of the rows."""

    rows: int = 0
    stored: int = 0
    bad_rows: int = 0
    problems: list[BadRow] = field(default_factory=list)  # at most 10,000
    unusual: dict[str, int] = field(default_factory=dict)  # values without canonical form, kept as written, by field
    bytes: int = 0
    index_bytes: int = 0  # of the query index, where the base has one


class Numbered(NamedTuple):
    """A row, and where it stands."""

    file: str
    number: int
    row: Row


def load(
    config: Config,
    base: BaseDeclaration,
    sources: Iterable[Source],
    *,
    most_bad_rows: int,
    indexing: Callable[[int], Progress] = lambda _: lambda _: None,
) -> Loaded:
    """Replace what a base holds by the rows of all sources. Readers see all of it at once, or nothing of it.

    `indexing` is told how many records the query index will have, and returns what is told of its progress.

    Raises:
        RecordsRefused: more than `most_bad_rows` rows are wrong, or none is right; nothing has changed.
        BaseBusy: another process is writing the base.
        DirectoryUnusable: it cannot be written, or has no more room.
    """
    directory = directory_of(config, base.id)
    with generations.writing(directory):
        try:
            made = generations.begin(directory)
            try:
                loaded = _fill(made, map_bytes(config), base, sources)
                judge(loaded, most_bad_rows)
                _index(made, map_bytes(config), base, loaded, indexing)
                generations.publish(made)
            finally:
                if generations.current_or_none(directory) != made.name:
                    shutil.rmtree(made, ignore_errors=True)
        except (OSError, lmdb.Error) as error:
            raise unusable(directory, error) from error
    return loaded


def unusable(directory: Path, error: Exception) -> DirectoryUnusable:
    """Say why a base cannot be written."""
    if isinstance(error, lmdb.MapFullError):
        return DirectoryUnusable(f"{directory}: the base is larger than records.map_size_gib allows")
    return DirectoryUnusable(f"{directory}: cannot be written ({error})")


def judge(loaded: Loaded, most_bad_rows: int) -> None:
    """Refuse what has too many bad rows, or no good one. Raises RecordsRefused."""
    if loaded.bad_rows > most_bad_rows:
        raise RecordsRefused(f"{loaded.bad_rows} of {loaded.rows} rows are wrong; nothing has changed", loaded.problems)
    if not loaded.stored:
        raise RecordsRefused("no row is left to load; nothing has changed", loaded.problems)


def _fill(made: Path, size: int, base: BaseDeclaration, sources: Iterable[Source]) -> Loaded:
    loaded = Loaded()
    environment = generations.open_generation(made, size, readonly=False, is_new=True)
    try:
        for batch in _batches(good_rows(base, sources, loaded)):
            _put(environment, batch, tuple(base.fields), loaded)
        about = About(format=FORMAT, base=base, loaded_at_ms=time.time_ns() // 1_000_000)
        with environment.begin(write=True) as transaction:
            transaction.put(ABOUT, msgspec.json.encode(about))
        environment.sync(True)
        loaded.bytes = (made / generations.DATA).stat().st_size
    finally:
        environment.close()
    return loaded


def _index(made: Path, size: int, base: BaseDeclaration, loaded: Loaded, indexing: Callable[[int], Progress]) -> None:
    packer = PACKINGS.packer(base.search)
    if packer is None:
        return
    store = Store(generations.open_generation(made, size, readonly=False), base)
    try:
        loaded.index_bytes = build(store, packer, indexing(len(store))).bytes
    finally:
        store.close()


def good_rows(base: BaseDeclaration, sources: Iterable[Source], loaded: Loaded) -> Iterator[Numbered]:
    """Yield the rows that can be stored, and note the others."""
    for source in sources:
        for number, written in enumerate(source.rows, 1):
            loaded.rows += 1
            row = read_row(base, written)
            if isinstance(row, Row):
                for name in row.unusual:
                    loaded.unusual[name] = loaded.unusual.get(name, 0) + 1
                yield Numbered(source.name, number, row)
            else:
                note_bad(loaded, source.name, number, row)


def note_bad(loaded: Loaded, file: str, number: int, problems: Iterable[Problem]) -> None:
    """Note what is wrong with a row."""
    loaded.bad_rows += 1
    if len(loaded.problems) < _MOST_PROBLEMS:
        loaded.problems += [BadRow(file, number, *problem) for problem in problems]


def _batches(rows: Iterator[Numbered]) -> Iterator[list[Numbered]]:
    batch: list[Numbered] = []
    for row in rows:
        batch.append(row)
        if len(batch) == _ROWS_A_BATCH:
            yield batch
            batch = []
    if batch:
        yield batch


def _put(environment: lmdb.Environment, batch: list[Numbered], names: Sequence[str], loaded: Loaded) -> None:
    """Store rows; of those with one key the first is stored, the others are bad."""
    batch.sort(key=lambda numbered: numbered.row.key)  # which is stable
    with environment.begin(write=True) as transaction:
        for file, number, row in batch:
            if transaction.put(row.key, pack(row, names), overwrite=False):
                loaded.stored += 1
            else:
                note_bad(loaded, file, number, (Problem("key", "stands in an earlier row already"),))
