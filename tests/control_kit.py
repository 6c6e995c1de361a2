"""Control planes on SQLite and PostgreSQL, for every test that has to hold on both."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.postgres import Postgres, PostgresMissing, running_postgres


@pytest.fixture(scope="module")
def postgres() -> Iterator[Postgres]:
    with contextlib.ExitStack() as stack:
        try:
            yield stack.enter_context(running_postgres())
        except PostgresMissing as missing:
            pytest.skip(f"PostgreSQL is not tested here: {missing}")


@pytest.fixture(params=["sqlite", "postgresql"])
def control_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """An empty database; every test that takes it runs on both kinds."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/control.db"
    server: Postgres = request.getfixturevalue("postgres")
    name = f"t{time.monotonic_ns()}"
    with psycopg.connect(server.url("postgresql"), autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")
    return server.url(database=name)
