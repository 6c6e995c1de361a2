"""Canonical request -> key, and the header of a cache entry (ext/cachekey.pyx).

The key is SHA-256 over a length-prefixed encoding, so that different requests never share one. An entry is a fixed 48-byte
little-endian header and the body; a header that does not fit its key, its length or its CRC-32C reads as no entry.

    offset  0 u8  format, 1        8 u64 stored_at           40 u32 length of the body
            1 u8  flags           16 u64 fresh_until         44 u32 zero
            2 u16 zero            24 u64 revalidate_until    48     body
            4 u32 crc32c          32 u64 error_until

The checksum covers the key, the header without the checksum, and the body. Texts of exceptions never hold values.
"""

from collections.abc import Buffer, Sequence  # type: ignore[attr-defined]
from typing import final

NOT_FOUND: int  # flag of an entry that says "no record"

def cache_key(interface: str, version: int, encoding: int, mask: bytes, arguments: Sequence[tuple[str, str]]) -> bytes:
    """Return the 32-byte key. `arguments` are canonical (name, value) pairs in strictly rising order of name.

    `version` is 0..2³²-1, `encoding` 0..255 and `mask` 0..255 bytes; encoding and mask are 0/empty for the key of a
    question, which says nothing of who asks.

    Raises:
        ValueError: names are not strictly rising, a number is out of range, a text cannot be encoded as UTF-8 (lone
            surrogates), or the whole is longer than 1 GiB.
        TypeError: an argument is not a tuple of two texts.
    """

def pack_entry(
    key: bytes, flags: int, stored_at: int, fresh_until: int, revalidate_until: int, error_until: int, body: bytes
) -> bytes:
    """Return header and body. Times are milliseconds since the epoch, UTC.

    Raises:
        ValueError: the key is not 32 bytes, `flags` not 0..255, a time not 0..2⁶⁴-1, the body 4 GiB or more, or the times
            are not stored_at <= fresh_until <= revalidate_until and fresh_until <= error_until.
    """

@final
class Entry:
    """One entry as read: times in milliseconds since the epoch, and a copy of the body. Made by `read_entry` alone."""

    @property
    def flags(self) -> int: ...
    @property
    def stored_at(self) -> int: ...
    @property
    def fresh_until(self) -> int: ...
    @property
    def revalidate_until(self) -> int: ...
    @property
    def error_until(self) -> int: ...
    @property
    def body(self) -> bytes: ...

def read_entry(key: bytes, data: Buffer) -> Entry | None:
    """Return the entry, or None when it is damaged, of another format, or of another key.

    `data` is any contiguous buffer and is not used after the return. Bytes of `data` never raise.

    Raises:
        ValueError: the key is not 32 bytes.
    """

def crc32c(data: Buffer) -> int:
    """CRC-32C (Castagnoli, RFC 3720 §B.4) of the bytes."""

def _crc32c_portable(data: Buffer) -> int:
    """The same by table, without the processor's instruction; for tests."""
