"""The oracle of the native decision: the truth table of a grant, written to be read.

It looks at the catalogue itself, not at an image, and knows nothing of tables, symbols or minutes of the week. What must not go
in here: an import of the native modules or of the compiler, or a trick for speed.
"""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import NamedTuple

from broker.model.catalogue import Catalogue, Grant

DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


class Asked(NamedTuple):
    """One question, and what time it is."""

    consumer: str | None
    interface: str
    version: int  # 0: the newest
    purpose: str
    matter: str
    unit: str
    operator: bool
    device: bool
    verdict: bool
    earliest_ms: int
    latest_ms: int


class Decision(NamedTuple):
    """Which grant covers the question and what it shows; else how near any grant comes."""

    verdict: str
    grant: str = ""
    fields: tuple[str, ...] = ()


NEAREST_LAST = ("NO_GRANT", "OUTSIDE_HOURS", "ONLY_VERDICT", "NEEDS_OPERATOR", "NEEDS_DEVICE", "ALLOWED")


def decide(catalogue: Catalogue, zone: zoneinfo.ZoneInfo, asked: Asked) -> Decision:
    """Find the first grant by id that covers the question."""
    found = {i.version: i for i in catalogue.interfaces if i.id == asked.interface}
    interface = found.get(asked.version or max(found, default=0))
    if interface is None:
        return Decision("NO_GRANT")
    nearest = "NO_GRANT"
    for grant in sorted(catalogue.grants, key=lambda g: g.id):
        fields = tuple(sorted(set(grant.fields) & set(interface.answer)))
        verdict = _verdict(grant, fields, _holders(catalogue, grant), zone, asked)
        if verdict == "ALLOWED":
            return Decision(verdict, grant.id, fields)
        nearest = max(nearest, verdict, key=NEAREST_LAST.index)
    return Decision(nearest)


def _holders(catalogue: Catalogue, grant: Grant) -> set[str]:
    return {grant.consumer, *(member for group in catalogue.groups if group.id == grant.consumer for member in group.members)}


def _verdict(grant: Grant, fields: tuple[str, ...], holders: set[str], zone: zoneinfo.ZoneInfo, asked: Asked) -> str:
    table = (
        ("NO_GRANT", asked.consumer in holders),
        ("NO_GRANT", asked.interface == grant.interface),
        ("NO_GRANT", fields != ()),
        ("NO_GRANT", _ms(grant.valid_from) <= asked.earliest_ms),
        ("NO_GRANT", asked.latest_ms < _ms(grant.valid_until)),
        ("NO_GRANT", asked.purpose in grant.purposes),
        ("NO_GRANT", not grant.matters or asked.matter in grant.matters),
        ("NO_GRANT", not grant.caller_units or asked.unit in grant.caller_units),
        ("OUTSIDE_HOURS", _within(grant, zone, asked.earliest_ms) and _within(grant, zone, asked.latest_ms)),
        ("ONLY_VERDICT", grant.disclosure == "DATA" or asked.verdict),
        ("NEEDS_OPERATOR", asked.operator or not grant.operator_required),
        ("NEEDS_DEVICE", asked.device or not grant.device_required),
    )
    return next((verdict for verdict, holds in table if not holds), "ALLOWED")


def _ms(moment: dt.datetime) -> int:
    return (moment - dt.datetime(1970, 1, 1, tzinfo=dt.UTC)) // dt.timedelta(milliseconds=1)


def _within(grant: Grant, zone: zoneinfo.ZoneInfo, at_ms: int) -> bool:
    local = (dt.datetime(1970, 1, 1, tzinfo=dt.UTC) + dt.timedelta(milliseconds=at_ms)).astimezone(zone)
    clock = f"{local.hour:02}:{local.minute:02}"
    for hours in grant.hours:
        days, _, span = hours.partition(" ")
        begins, _, ends = span.partition("-")
        if DAYS[local.weekday()] in _days(days) and begins <= clock < ends:
            return True
    return not grant.hours


def _days(text: str) -> set[str]:
    if text == "daily":
        return set(DAYS)
    first, _, last = text.partition("-")
    at, days = DAYS.index(first), {first}
    while DAYS[at] != (last or first):
        at = (at + 1) % 7
        days.add(DAYS[at])
    return days
