"""Judges the query and the URL of a SQL provider, for the catalogue's validation. Pure.

It is a check of what a careful author wrote, so that mistakes show before they are applied; what keeps a database safe is
the read-only session that `sql.py` opens. What must not go in here: running anything.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

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
    scheme, _, rest = url.partition("://")
    user = rest.partition("/")[0].rpartition("@")[0]
    found = {
        f"must start with {' or '.join(BACKENDS)}": scheme not in BACKENDS,
        "must not contain a password; use password_file": ":" in user or "password=" in rest,
    }
    return [f"url: {rule}" for rule, broken in found.items() if broken]
