"""The oracle of `broker._native.cachekey`: keys by hashlib, entries by struct, CRC-32C one bit at a time.

It follows the written format alone (`broker/_native/cachekey.pyi`). What must not go in here: an import of the native
module, or a trick for speed.
"""

from __future__ import annotations

import hashlib
import itertools
import struct
from collections.abc import Sequence
from typing import NamedTuple

TAG = b"shared-data-broker/cache-key/1".ljust(32, b"\0")
HEADER = struct.Struct("<BBHIQQQQII")
POLYNOMIAL = 0x82F63B78  # Castagnoli, reflected

# RFC 3720 §B.4
CRC32C_VECTORS = (
    (bytes(32), 0x8A9136AA),
    (b"\xff" * 32, 0x62A8AB43),
    (bytes(range(32)), 0x46DD794E),
    (bytes(reversed(range(32))), 0x113FDB5C),
    (
        bytes.fromhex(
            "01c00000 00000000 00000000 00000000 14000000 00000400 00000014 00000018 28000000 00000000 02000000 00000000"
        ),
        0xD9963A56,
    ),
)


class Entry(NamedTuple):
    """One entry as read."""

    flags: int
    stored_at: int
    fresh_until: int
    revalidate_until: int
    error_until: int
    body: bytes


def crc32c(data: bytes) -> int:
    running = 0xFFFFFFFF
    for byte in data:
        running ^= byte
        for _ in range(8):
            running = (running >> 1) ^ (POLYNOMIAL if running & 1 else 0)
    return running ^ 0xFFFFFFFF


def text(value: str) -> bytes:
    encoded = value.encode("utf-8")
    return struct.pack("<I", len(encoded)) + encoded


def preimage(interface: str, version: int, encoding: int, mask: bytes, arguments: Sequence[tuple[str, str]]) -> bytes:
    parts = [TAG, text(interface), struct.pack("<IBB", version, encoding, len(mask)), mask]
    parts.append(struct.pack("<I", len(arguments)))
    for name, value in arguments:
        parts += [text(name), text(value)]
    return b"".join(parts)


def cache_key(interface: str, version: int, encoding: int, mask: bytes, arguments: Sequence[tuple[str, str]]) -> bytes:
    names = [name for name, _ in arguments]
    if any(left >= right for left, right in itertools.pairwise(names)):
        raise ValueError("names must be strictly rising")
    return hashlib.sha256(preimage(interface, version, encoding, mask, arguments)).digest()


def pack_entry(
    key: bytes, flags: int, stored_at: int, fresh_until: int, revalidate_until: int, error_until: int, body: bytes
) -> bytes:
    if not (stored_at <= fresh_until <= revalidate_until and fresh_until <= error_until):
        raise ValueError("times must not run backwards")

    def header(crc: int) -> bytes:
        times = (stored_at, fresh_until, revalidate_until, error_until)
        return HEADER.pack(1, flags, 0, crc, *times, len(body), 0)

    blank = header(0)
    return header(crc32c(key + blank[:4] + blank[8:] + body)) + body


def read_entry(key: bytes, data: bytes) -> Entry | None:
    if len(data) < HEADER.size:
        return None
    form, flags, reserved, crc, stored, fresh, revalidate, error, length, tail = HEADER.unpack(data[: HEADER.size])
    body = data[HEADER.size :]
    if form != 1 or reserved or tail or length != len(body):
        return None
    if not (stored <= fresh <= revalidate and fresh <= error):
        return None
    if crc32c(key + data[:4] + data[8:]) != crc:
        return None
    return Entry(flags, stored, fresh, revalidate, error, body)
