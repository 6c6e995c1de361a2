"""Copies a city from its SQLite file into an empty PostgreSQL database, for a demonstration on the server that offices run.

What must not go in here: what the tables are (tables.py).
"""

from __future__ import annotations

from contextlib import closing
from pathlib import Path

import psycopg

from broker.demo.city import open_city
from broker.demo.tables import TABLES, create_indexes, create_tables


def copy_city(path: Path, connection_url: str) -> None:
    """Copy all tables and views in one transaction; the URL is libpq's (``postgresql://…``)."""
    with closing(open_city(path)) as city, psycopg.connect(connection_url) as connection, connection.cursor() as cursor:
        for statement in create_tables():
            cursor.execute(statement.encode())
        for name, table in TABLES.items():
            columns = ", ".join(table.columns)
            rows = city.execute(f"SELECT {columns} FROM {name}")  # noqa: S608 - names are ours
            with cursor.copy(f"COPY {name} ({columns}) FROM STDIN".encode()) as copy:
                for row in rows:
                    copy.write_row(row)
        for statement in create_indexes():
            cursor.execute(statement.encode())
