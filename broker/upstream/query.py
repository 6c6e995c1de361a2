"""Judges the query and the URL of a SQL provider, for the catalogue's validation. Pure.

It is a check of what a careful author wrote, so that mistakes show before they are applied; what keeps a database safe is
the read-only session that `sql.py` opens. What must not go in here: running anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import ArgumentError

from broker.model.catalogue import Argument

BACKENDS = ("sqlite+aiosqlite", "postgresql+psycopg")

_BOUND = re.compile(r"(?<![:\w\\]):(\w+)(?![:\w])")  # as SQLAlchemy's text() reads it, inside quotes too
_QUOTED = re.compile(r"'(?:[^']|'')*'|\"(?:[^\"]|\"\")*\"")
_WRITES = re.compile(r"\b(INSERT|UPDATE|DELETE|MERGE|INTO)\b", re.IGNORECASE)


def check_query(query: str, arguments: Mapping[str, Argument]) -> list[str]:
    """Return what is wrong with a query: it is one SELECT (or WITH … SELECT) that binds arguments of the interface by name.

    Every required argument is bound. An optional one that was not given binds NULL; PostgreSQL wants its type said:
    ``CAST(:district AS text) IS NULL OR district = :district``.
    """
    bound = set(_BOUND.findall(query))
    bare = _QUOTED.sub("''", query)
    return [
        *_form_problems(query, bare),
        *(f"query: binds `{name}`, which is no argument" for name in sorted(bound - arguments.keys())),
        *(
            f"query: does not use the required argument `{name}`"
            for name, argument in sorted(arguments.items())
            if argument.required and name not in bound
        ),
    ]


def _form_problems(query: str, bare: str) -> list[str]:
    found = {
        "must be one SELECT or WITH": not re.match(r"\s*(SELECT|WITH)\b", bare, re.IGNORECASE),
        "must not contain `;`": ";" in query,
        "must not contain comments": "--" in bare or "/*" in bare,
        "must only read": _WRITES.search(bare) is not None,
    }
    return [f"query: {rule}" for rule, broken in found.items() if broken]


def check_url(url: str) -> list[str]:
    """Return what is wrong with a database URL, without repeating it: it may hold what it should not."""
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        return ["url: is not a database URL, or its port is not a number"]
    found = {
        f"must start with {' or '.join(BACKENDS)}": parsed.drivername not in BACKENDS,
        "must not contain a password; use password_file": _has_password(parsed),
        "must name a database": not parsed.database,
        "the port must be 1 to 65535": parsed.port is not None and not 1 <= parsed.port <= 65_535,
    }
    return [f"url: {rule}" for rule, broken in found.items() if broken]


def _has_password(url: URL) -> bool:
    return url.password is not None or any("password" in name.lower() for name in url.query)
