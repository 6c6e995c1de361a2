"""Policy images for tests: a small good one, the same with one thing changed and sealed again, and every look-up there is.

The layout is written down once more, from `broker/_native/policy.pyi`, so that the compiler and the reader are held to it by a
third party. What must not go in here: an import of `broker.policy.image`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import hashlib
import itertools
import struct
from typing import Any

from broker._native.policy import Image
from broker.model.catalogue import Catalogue, Consumer, ConsumerKey, Grant, Group
from broker.policy.compiler import Compiler
from broker.policy.store import Changes, Revision, encode
from tests.support.catalogue import interface, provider

(TEXT, SYMBOLS, SYMBOL_SLOTS, CREDENTIALS, CONSUMERS, INTERFACES, NAMED, HOLDINGS, REFS, TERMS, OFFSETS, DOCUMENTS) = range(12)
WIDTHS = (1, 8, 4, 24, 4, 24, 16, 16, 4, 1, 16, 1)
HEADER_BYTES, DIRECTORY_AT, FIRST_SECTION = 64, 64, 64 + 12 * 16
TERM_BYTES = 136
TERM = {
    "valid_from_ms": (0, "<q"),
    "valid_until_ms": (8, "<q"),
    "interval_ns": (16, "<Q"),
    "burst_ns": (24, "<Q"),
    "counter": (56, "<Q"),
    "flags": (92, "<I"),
    "size": (96, "<I"),
    "holder": (100, "<I"),
    "interface": (104, "<I"),
    "legal_basis": (108, "<I"),
    "embargo_class": (112, "<I"),
    "purposes": (120, "<H"),
    "matters": (122, "<H"),
    "units": (124, "<H"),
    "hours": (126, "<H"),
    "fields": (128, "<H"),
    "id_bytes": (130, "<H"),
}
NOW = dt.datetime(2026, 3, 29, 0, 30, tzinfo=dt.UTC)
NOW_MS = int(NOW.timestamp() * 1000)
KEY = ConsumerKey(id="k1", public_key="A" * 43 + "=")


class Part:
    """A section, and how many things its directory entry says are in it."""

    def __init__(self, data: bytes, count: int) -> None:
        self.data = bytearray(data)
        self.count = count

    def put(self, at: int, form: str, *values: int) -> None:
        struct.pack_into(form, self.data, at, *values)

    def get(self, at: int, form: str) -> int:
        value: int = struct.unpack_from(form, self.data, at)[0]
        return value


def granted(**changes: Any) -> Grant:
    values: dict[str, Any] = {
        "id": "g1",
        "consumer": "a",
        "interface": "i",
        "purposes": ("P1", "P2"),
        "fields": ("name", "status"),
        "matters": ("M1",),
        "caller_units": ("U1",),
        "hours": ("mon-fri 08:30-17:30", "sun 00:00-24:00"),
        "valid_from": NOW - dt.timedelta(days=1),
        "valid_until": NOW + dt.timedelta(days=3),
        "legal_basis": "《条例》第一条",
    }
    return Grant(**values | changes)


def catalogue_of(*grants: Grant, consumers: tuple[str, ...] = ("a", "b")) -> Catalogue:
    return Catalogue(
        providers=(provider("http://x"),),
        interfaces=(interface(id="i"),),
        consumers=tuple(Consumer(id=name, name=name, keys=(KEY,)) for name in consumers),
        groups=(Group(id="halls", name="大厅", members=consumers),),
        grants=grants,
    )


def image_of(*grants: Grant, zone: str = "Asia/Shanghai") -> bytes:
    return Compiler(zone).update(Changes(Revision(7, ""), encode(catalogue_of(*grants))))[0]


def small_image() -> bytes:
    """Two grants, one of them of a group, in a zone with few changes."""
    return image_of(granted(), granted(id="g2", consumer="halls", hours=(), matters=(), caller_units=()))


# --- taken apart and put together again -------------------------------------------------------------------------------


def parts_of(image: bytes) -> list[Part]:
    places = [struct.unpack_from("<QQ", image, DIRECTORY_AT + 16 * number) for number in range(12)]
    return [Part(image[at : at + count * WIDTHS[number]], count) for number, (at, count) in enumerate(places)]


def sealed(parts: list[Part], version: int = 7) -> bytes:
    """Put sections one behind the other, under the digest that belongs to them."""
    at, directory, body = FIRST_SECTION, b"", b""
    for part in parts:
        directory += struct.pack("<QQ", at, part.count)
        body += bytes(part.data) + bytes(-len(part.data) % 8)
        at = FIRST_SECTION + len(body)
    return resealed(struct.pack("<8sIIQQ32x", b"SDBPOLCY", 1, 0, version, at) + directory + body)


def resealed(image: bytes | bytearray) -> bytes:
    """The same bytes under the digest that belongs to them."""
    return bytes(image[:32]) + hashlib.sha256(bytes(image[:32]) + bytes(image[64:])).digest() + bytes(image[64:])


# --- every look-up ----------------------------------------------------------------------------------------------------

TEXTS = ("", "i", "P1", "M1", "U1", "name", "other", "《条例》第一条", "x" * 100)
WORD = 2**32 - 1
TIMES_MS = (NOW_MS, 0, -1, 2**53 - 1, -(2**53) + 1)


def look_everywhere(image: Image) -> int:
    """Make every kind of look-up with what is there and with what is not; returns how many decisions allowed something."""
    refs = image.terms()
    for ref in refs:
        image.term(ref)
    for consumer in range(3):
        assert set(image.held_by(consumer)) <= set(refs)
        with contextlib.suppress(IndexError):
            image.consumer_id(consumer)
    for at_ms in TIMES_MS[:3]:
        assert image.day(image.next_day_ms(at_ms)) > image.day(at_ms)
    for credential in (bytes(16), b"\xff" * 16, *(bytes([n]) * 16 for n in range(1, 9))):
        image.consumer(credential)
    assert image.grants <= len(refs)
    image.documents()
    return _decide_everywhere(image)


def _decide_everywhere(image: Image) -> int:
    allowed = 0
    for consumer, name, version, at_ms in itertools.product((None, 0, 1, WORD), ("i", "", "other"), (0, 1, WORD), TIMES_MS):
        verdict, ref = image.decide(consumer, name, version, "P1", "M1", "U1", 7, at_ms, at_ms)
        assert (verdict == 5) == (ref is not None)
        if ref is not None:
            allowed += 1
            assert image.term(ref)["fields"]
    for text in TEXTS:
        image.decide(0, "i", 0, text, text, text, 0, NOW_MS, NOW_MS)
    return allowed
