"""One record as it is written, judged by its base's schema, and as it is stored: a key, and the values with their checksum.

The key is canonical, so every written form of it finds the record; the values stay as they were written, for what they mean
is for who compares them. Pure. What must not go in here: files, and LMDB.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections.abc import Iterator, Mapping, Sequence
from typing import NamedTuple

import msgspec

from broker.model.catalogue import BaseDeclaration, RecordField, SemanticType
from broker.model.semantics import AS_WRITTEN, DAMAGE, MAX_TEXT_CHARS, NotCanonical, canonical

MAX_KEY_BYTES = 511  # of LMDB
SEPARATOR = "\0"  # canonical forms have no control characters
_CHECKSUM = struct.Struct("<I")
_VALUES = msgspec.msgpack.Decoder(list[str | None])
_encode = msgspec.msgpack.encode

Record = dict[str, str | None]  # by field
_LINE_BREAK = re.compile(r"[\n\r\t]")
_OF_SEVERAL_LINES = frozenset({SemanticType.ADDRESS, SemanticType.TEXT})


class Problem(NamedTuple):
    """What is wrong with one field of one row: a rule, never the value."""

    field: str
    rule: str


class Row(NamedTuple):
    """A record that can be stored. `unusual` names fields whose values have no canonical form and are kept as written."""

    key: bytes
    record: Record
    unusual: tuple[str, ...]


class Damaged(ValueError):
    """What is stored is not what was written."""


def read_row(base: BaseDeclaration, written: Mapping[str, str | None]) -> Row | list[Problem]:
    """Return the record that a row holds, or everything that is wrong with it."""
    held = {name: _blank_is_none(written.get(name)) for name in base.fields}
    problems = [Problem(name, rule) for name, value in held.items() if (rule := _broken_rule(base.fields[name], value))]
    key, more = _canonical_key(base, held, {problem.field for problem in problems})
    if problems or more:
        return problems + more
    return Row(key, held, tuple(_unusual(base, held)))


def read_key(base: BaseDeclaration, written: Mapping[str, str | None]) -> bytes | list[Problem]:
    """Return the stored key that a row names, or everything that is wrong with it."""
    held = {name: _blank_is_none(written.get(name)) for name in base.key}
    missing = [Problem(name, "is required") for name, value in held.items() if value is None]
    key, problems = _canonical_key(base, held, {problem.field for problem in missing})
    return missing + problems or key


def _blank_is_none(text: str | None) -> str | None:
    return text if text and not text.isspace() else None


def _broken_rule(field: RecordField, value: str | None) -> str:
    if value is None:
        return "is required" if field.required else ""
    if len(value) > MAX_TEXT_CHARS:
        return f"must not be longer than {MAX_TEXT_CHARS} characters"
    if DAMAGE.search(value) or (field.type not in _OF_SEVERAL_LINES and _LINE_BREAK.search(value)):
        return "must not contain control characters"
    return ""


def _canonical_key(base: BaseDeclaration, held: Mapping[str, str | None], wrong: set[str]) -> tuple[bytes, list[Problem]]:
    parts, problems = [], []
    for name in base.key:
        try:
            parts.append(canonical(base.fields[name].type, held[name] or ""))
        except NotCanonical as error:
            problems += [] if name in wrong else [Problem(name, str(error))]
    key = key_of(parts)
    if len(key) > MAX_KEY_BYTES:
        problems.append(Problem(base.key[-1], f"the key must not be longer than {MAX_KEY_BYTES} bytes"))
    return key, problems


def key_of(canonical_parts: Sequence[str]) -> bytes:
    """Return the stored key of canonical values, in the order of the base's key."""
    return SEPARATOR.join(canonical_parts).encode()


def _unusual(base: BaseDeclaration, held: Mapping[str, str | None]) -> Iterator[str]:
    for name, value in held.items():
        kind = base.fields[name].type
        if value is None or name in base.key or (kind in AS_WRITTEN and value.isprintable()):
            continue
        try:
            canonical(kind, value)
        except NotCanonical:
            yield name


def pack(row: Row, names: Sequence[str]) -> bytes:
    """Return what is stored of a record: its values in the order of the names."""
    key, packed = row.key, _encode([row.record.get(name) for name in names])
    return _CHECKSUM.pack(zlib.crc32(packed, zlib.crc32(key))) + packed


def unpack(key: bytes, stored: bytes) -> list[str | None]:
    """Return the values that were stored under a key.

    Raises:
        Damaged: they are not what was written, or not under this key.
    """
    if len(stored) < _CHECKSUM.size:
        raise Damaged("too short")
    (checksum,) = _CHECKSUM.unpack_from(stored)
    if checksum != zlib.crc32(stored[_CHECKSUM.size :], zlib.crc32(key)):
        raise Damaged("the checksum is wrong")
    return _VALUES.decode(stored[_CHECKSUM.size :])
