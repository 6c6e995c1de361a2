"""Writes a policy image: one grant as a record, and the sections one behind the other. Layout: `broker/_native/policy.pyi`.

What must not go in here: what is in force, and what of it has changed (compiler.py).
"""

from __future__ import annotations

import hashlib
import struct
from array import array
from collections.abc import Sequence
from typing import NamedTuple

from broker.model.catalogue import Disclosure, Grant, Interface
from broker.model.snapshot import DEVICE_REQUIRED, OPERATOR_REQUIRED, STALE_ALLOWED, VERDICT_ONLY, mask_of
from broker.policy.hours import spans_of

MAGIC, FORMAT = b"SDBPOLCY", 1
HEADER_BYTES = 64
_HEADER = struct.Struct("<8sIIQQ")
_PLACE = struct.Struct("<QQ")
_TERM = struct.Struct("<qqQQQQQQd16siIIIIIIIHHHHHHI")
_MOST = 0xFFFF  # of what a record counts with 16 bits


class Fields(NamedTuple):
    """What of a grant's fields one version of its interface answers; many grants show the same."""

    mask: bytes
    numbers: list[int]


class Symbols:
    """Texts by number. Numbers are never given twice, so what was packed before stays right."""

    def __init__(self) -> None:
        self._numbers: dict[str, int] = {}
        self._fields: dict[tuple[str, int, tuple[str, ...]], Fields] = {}
        self.texts: list[bytes] = []
        self.number("")

    def number(self, text: str) -> int:
        """Return the number of a text, giving it one if it is new."""
        found = self._numbers.get(text)
        if found is None:
            found = self._numbers[text] = len(self.texts)
            self.texts.append(text.encode())
        return found

    def numbers(self, texts: Sequence[str]) -> list[int]:
        """Return the numbers of several."""
        known = self._numbers
        try:
            return [known[text] for text in texts]
        except KeyError:
            return [self.number(text) for text in texts]

    def fields(self, interface: Interface, granted: tuple[str, ...]) -> Fields:
        """Return what an interface answers of the fields granted."""
        place = (interface.id, interface.version, granted)
        found = self._fields.get(place)
        if found is None:
            answered = sorted({*granted}.intersection(interface.answer))
            found = self._fields[place] = Fields(mask_of(answered), self.numbers(answered))
        return found

    def __len__(self) -> int:
        return len(self.texts)

    def forget_fields(self) -> None:
        """Interfaces have changed."""
        self._fields.clear()


def pack_term(grant: Grant, interface: Interface, symbols: Symbols) -> bytes:
    """Write a grant down as it applies to one version of its interface."""
    fields = symbols.fields(interface, grant.fields)
    spans = [minute for hours in grant.hours for span in spans_of(hours) for minute in span]
    counts = (len(grant.purposes), len(grant.matters), len(grant.caller_units), len(spans) // 2, len(fields.numbers))
    if max(counts) > _MOST:
        raise ValueError(f"grant {grant.id}: names more than {_MOST} of a kind")
    whose = symbols.numbers((grant.consumer, grant.interface, grant.legal_basis, grant.embargo_class))
    named = symbols.numbers((*grant.purposes, *grant.matters, *grant.caller_units))
    lists = array("I", named + spans + fields.numbers).tobytes()
    identifier = grant.id.encode()
    size = _TERM.size + len(lists) + len(identifier)
    padding = -size % 8
    interval_ns = round(1e9 / grant.rate_per_second)
    fixed = _TERM.pack(
        round(grant.valid_from.timestamp() * 1000),
        round(grant.valid_until.timestamp() * 1000),
        interval_ns,
        interval_ns * grant.burst,
        grant.quota_per_day,
        grant.quota_total,
        grant.subjects_per_day,
        counter_of(grant),
        grant.rate_per_second,
        fields.mask,
        -1 if grant.cache_max_age_s is None else grant.cache_max_age_s,
        _flags(grant),
        size + padding,
        *whose,
        grant.burst,
        *counts,
        len(identifier),
        0,
    )
    return b"".join((fixed, lists, identifier, bytes(padding)))


def _flags(grant: Grant) -> int:
    return (
        VERDICT_ONLY * (grant.disclosure is Disclosure.VERDICT_ONLY)
        | STALE_ALLOWED * grant.stale_allowed
        | OPERATOR_REQUIRED * grant.operator_required
        | DEVICE_REQUIRED * grant.device_required
    )


def counter_of(grant: Grant) -> int:
    """Return the key of a grant's counters. Limits are part of it: what was counted under others must not bind these."""
    limits = f"{grant.id}\0{grant.rate_per_second!r}\0{grant.burst}\0{grant.quota_per_day}\0{grant.quota_total}"
    return int.from_bytes(hashlib.blake2b(limits.encode(), digest_size=8).digest(), "little") or 1


def assemble(version: int, sections: Sequence[tuple[bytes, int]]) -> bytes:
    """Put sections, each with the number of things in it, behind a header and a directory, and seal them."""
    place = HEADER_BYTES + len(sections) * _PLACE.size
    directory, parts = [], []
    for data, count in sections:
        padding = -len(data) % 8
        directory.append(_PLACE.pack(place, count))
        parts += [data, bytes(padding)]
        place += len(data) + padding
    header = _HEADER.pack(MAGIC, FORMAT, 0, version, place)
    rest = b"".join((*directory, *parts))
    digest = hashlib.sha256(header)
    digest.update(rest)
    return b"".join((header, digest.digest(), rest))
