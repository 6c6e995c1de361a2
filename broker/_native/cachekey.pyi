"""Canonical request -> key, and the header of a cache entry (ext/cachekey.pyx).

The key is SHA-256 over a length-prefixed encoding, so that different requests never share one. An entry is a fixed 48-byte
little-endian header and the body; a header that does not fit its key, its length or its CRC-32C reads as no entry.
"""

from collections.abc import Buffer, Sequence  # type: ignore[attr-defined]

NOT_FOUND: int  # flag of an entry that says "no record"

def cache_key(interface: str, version: int, encoding: int, mask: bytes, arguments: Sequence[tuple[str, str]]) -> bytes:
    """Return the 32-byte key. `arguments` are canonical (name, value) pairs in strictly rising order of name.

    `encoding` is 0..255 and `mask` 0..255 bytes; both are 0/empty for the key of a question, which says nothing of who asks.

    Raises:
        ValueError: names are not strictly rising, or a number is out of range.
    """

def pack_entry(
    key: bytes, flags: int, stored_at: int, fresh_until: int, revalidate_until: int, error_until: int, body: bytes
) -> bytes:
    """Return header and body. Times are milliseconds since the epoch, UTC. Raises ValueError when a number is out of range."""

class Entry:
    """One entry as read: times in milliseconds since the epoch, and a copy of the body."""

    flags: int
    stored_at: int
    fresh_until: int
    revalidate_until: int
    error_until: int
    body: bytes

def read_entry(key: bytes, data: Buffer) -> Entry | None:
    """Return the entry, or None when it is damaged, of another format, or of another key."""

def crc32c(data: Buffer) -> int:
    """CRC-32C (Castagnoli, RFC 3720 §B.4) of the bytes."""
