"""Writes the shapes of a catalogue as TOML that people like to read: one table an element, one line a field.

Values are text, numbers, booleans, dates, lists and tables of these; nothing else is accepted. What must not go in here:
reading, which is tomllib's business, and files.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from collections.abc import Iterator
from typing import Any

import msgspec

_BARE_KEY = re.compile(r"[A-Za-z0-9_-]+")
_INLINE_CHARACTERS = 100  # a longer table inside an element gets a head and lines of its own


def document(arrays: dict[str, list[dict[str, Any]]]) -> str:
    """Write arrays of tables, ``[[name]]`` by ``[[name]]``."""
    return "\n".join(
        "\n".join([f"[[{name}]]", *_lines(element, name)]) + "\n" for name, array in arrays.items() for element in array
    )


def plain(value: Any) -> Any:
    """Turn values of the catalogue into tables, leaving out what is as it would be anyway."""
    if isinstance(value, msgspec.Struct):
        config = type(value).__struct_config__
        tag = {config.tag_field: config.tag} if config.tag_field else {}
        fields = ((field, getattr(value, field.name)) for field in msgspec.structs.fields(value))
        return tag | {field.name: plain(kept) for field, kept in fields if field.required or kept != _default(field)}
    if isinstance(value, dict):
        return {key: plain(element) for key, element in value.items()}
    return [plain(element) for element in value] if isinstance(value, tuple) else value


def _default(field: msgspec.structs.FieldInfo) -> Any:
    return field.default if field.default_factory is msgspec.NODEFAULT else field.default_factory()


def _lines(table: dict[str, Any], path: str) -> Iterator[str]:
    """Give a table's own lines first and its sub-tables after them, as TOML demands."""
    nested = {key: value for key, value in table.items() if isinstance(value, dict) and _is_long(value)}
    for key, value in table.items():
        if key not in nested:
            yield f"{_key(key)} = {_value(value)}"
    for key, value in nested.items():
        head = f"{path}.{_key(key)}"
        yield f"\n[{head}]"
        yield from _lines(value, head)


def _is_long(table: dict[str, Any]) -> bool:
    return len(_value(table)) > _INLINE_CHARACTERS


def _key(key: str) -> str:
    return key if _BARE_KEY.fullmatch(key) else _value(key)


def _value(value: Any) -> str:
    if isinstance(value, dict):
        return "{ " + ", ".join(f"{_key(k)} = {_value(v)}" for k, v in value.items()) + " }"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_value, value)) + "]"
    if isinstance(value, dt.date):  # and datetime, which is one
        return value.isoformat()
    if isinstance(value, str | bool | int | float):
        return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
    raise TypeError(f"a catalogue has no values of type {type(value).__name__}")
