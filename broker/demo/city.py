"""The synthetic city in one file: built once for a seed and sizes, reused while it is the right one, looked into by the tour.

A build goes to a name of its own and is renamed when it is complete, so a half-built city is never used. What must not go in
here: what anything in the city is (population.py, holdings.py, bodies.py) and who asks for it (interfaces.py).
"""

from __future__ import annotations

import gc
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from broker.demo import bodies, people
from broker.demo.holdings import HOLDINGS, Groups, Rows
from broker.demo.people import Draw
from broker.demo.population import populate
from broker.demo.tables import TABLES, create_indexes, create_tables

FORMAT = 1  # raise it with every change of tables or of what a seed means

Progress = Callable[[str, int], None]  # table, rows in it


@dataclass(frozen=True)
class Size:
    """What makes a city the same city."""

    seed: int
    persons: int
    companies: int
    licences: int


def build_city(
    path: Path,
    *,
    seed: int = 20180501,
    persons: int = 100_000,
    companies: int = 20_000,
    licences: int = 50_000,
    progress: Progress = lambda table, rows: None,
) -> bool:
    """Make sure that the file holds this city; return whether it had to be built."""
    size = Size(seed, persons, companies, licences)
    if _holds(path, size):
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f"{path.name}.{os.getpid()}.new")
    unfinished.unlink(missing_ok=True)
    try:
        with closing(sqlite3.connect(unfinished, isolation_level=None)) as connection, _no_garbage_collection():
            _fill(connection, size, progress)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return True


def _holds(path: Path, size: Size) -> bool:
    if not path.exists():
        return False
    try:
        with closing(open_city(path)) as connection:
            found = dict(connection.execute("SELECT key, value FROM meta").fetchall())
    except sqlite3.DatabaseError:  # another kind of file, or one of before the table
        return False
    return bool(found == _meta(size))


def _meta(size: Size) -> dict[str, int]:
    return {"format": FORMAT, **asdict(size)}


@contextmanager
def _no_garbage_collection() -> Iterator[None]:
    """Half a million tuples without a cycle among them: looking for garbage costs a quarter of the time and finds none."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


def _fill(connection: sqlite3.Connection, size: Size, progress: Progress) -> None:
    for pragma in (
        "journal_mode = OFF",
        "synchronous = OFF",
        "locking_mode = EXCLUSIVE",
        "page_size = 8192",
        "cache_size = -16384",
    ):
        connection.execute(f"PRAGMA {pragma}")
    connection.execute("BEGIN")
    for statement in create_tables(suffix=" WITHOUT ROWID"):
        connection.execute(statement)
    for table, rows in _rows(size):
        progress(table, _insert(connection, table, rows))
    for statement in create_indexes():
        connection.execute(statement)
    connection.execute("CREATE TABLE meta (key TEXT PRIMARY KEY, value INTEGER)")
    connection.executemany("INSERT INTO meta VALUES (?, ?)", _meta(size).items())
    connection.execute("COMMIT")


def _rows(size: Size) -> Iterator[tuple[str, Rows]]:
    """Give the rows of every table; each table has draws of its own, so that a new one leaves the others as they are."""
    population = populate(size.seed, size.persons)
    yield "person", population.persons
    yield "household", population.households
    groups = Groups(population)
    for table, holding in HOLDINGS.items():
        yield table, holding(Draw(f"{size.seed}:{table}"), groups)
    companies = bodies.companies(size.seed, groups, size.companies)
    yield "company", companies
    yield "licence", bodies.licences(size.seed, groups, companies, size.licences)
    for table, standing in bodies.STANDINGS.items():
        yield table, standing(Draw(f"{size.seed}:{table}"), companies)


def _insert(connection: sqlite3.Connection, table: str, rows: Rows) -> int:
    marks = ", ".join("?" * len(TABLES[table].columns))
    return connection.executemany(f"INSERT INTO {table} VALUES ({marks})", rows).rowcount  # noqa: S608 - names are ours


# --- looking in ---------------------------------------------------------------------------------------------------------


def open_city(path: Path) -> sqlite3.Connection:
    """Open for reading only; the file never changes, so no locks are taken."""
    return sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True, check_same_thread=False)


def sample(path: Path, columns: str, source: str, count: int, seed: int, where: str = "1 = 1") -> list[dict[str, Any]]:
    """Draw rows without repetition, the same for the same seed; fewer if there are not as many."""
    query = f"SELECT DISTINCT {columns} FROM {source} WHERE {where} ORDER BY {columns}"  # noqa: S608 - names are ours
    with closing(open_city(path)) as connection:
        cursor = connection.execute(query)
        names = [column[0] for column in cursor.description]
        rows = cursor.fetchall()
    return [dict(zip(names, row, strict=True)) for row in Draw(f"{seed}:sample").sample(rows, min(count, len(rows)))]


def sample_residents(path: Path, count: int, seed: int = 0, status: str = "VALID") -> list[dict[str, Any]]:
    """Draw people of one status (VALID, DECEASED, CANCELLED) with all that the register says of them."""
    columns = ", ".join(TABLES["person"].columns)
    return sample(path, columns, "person", count, seed, f"status = '{status}'")


def absent_resident_id(serial: int = 1) -> str:
    """Give a well-formed number that nobody in any city has."""
    return people.resident_id(people.NOBODY, "1990-01-01", serial)


def absent_uscc(serial: int = 1) -> str:
    """Give a well-formed code that no body in any city has."""
    return people.uscc("91", people.NOBODY, serial)
