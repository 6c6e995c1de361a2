"""Executes one statement for very many rows. What must not go in here: which statement.

A slice at a time: rows that are made, used and forgotten a thousand at a time cost a third less than all of them at once,
through which the garbage collector would walk again and again.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable
from typing import Any

from sqlalchemy import Connection, Executable

_SLICE = 1000


def execute(connection: Connection, statement: Executable, rows: Iterable[dict[str, Any]]) -> bool:
    """Execute a statement once a row; returns whether there was any."""
    left = iter(rows)
    executed = False
    while some := list(itertools.islice(left, _SLICE)):
        connection.execute(statement, some)
        executed = True
    return executed
