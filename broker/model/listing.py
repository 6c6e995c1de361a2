"""Lists: which entries hold the words of a query, which of them are a page, and where the next one begins (AIP-158). Pure.

A token names the entry after which the next page begins, so that entries that come and go between two pages neither repeat nor
hide others; it is bound to the query by a digest and refused with any other. What must not go in here: messages, masks, sizes
in bytes (`services/`).
"""

from __future__ import annotations

import base64
import binascii
import bisect
import hashlib
import unicodedata
from collections.abc import Sequence
from typing import Generic, NamedTuple, TypeVar

from broker.errors import InvalidRequest, Violation

DEFAULT_SIZE, MAX_SIZE = 50, 1000
_MAX_QUERY_CHARS = 256
_MAX_TOKEN_CHARS = 1024
_DIGEST_BYTES = 8

T = TypeVar("T")


class Entry(NamedTuple, Generic[T]):
    """One thing that can be listed."""

    key: str  # its place in the list
    text: str  # what words are looked for in, folded
    value: T


class Wanted(NamedTuple):
    """Which page of what, as the caller wrote it."""

    page_size: int = 0
    page_token: str = ""
    query: str = ""
    scope: tuple[str, ...] = ()  # whatever else decides what is listed: of what kind, for whom, which level


class Page(NamedTuple, Generic[T]):
    """The entries of a page, of how many, and by what a token for the next is bound."""

    entries: Sequence[Entry[T]]
    left: int  # entries from the page's first on, to the end of the list
    total: int
    scope: tuple[str, ...]

    def token_after(self, given: int) -> str:
        """Return the token for what follows the first `given` entries of this page; "" if nothing does."""
        return _token(self.entries[given - 1].key, self.scope) if 0 < given < self.left else ""


def fold(*texts: str) -> str:
    """Return texts as they are searched: width, composition and case do not matter, and no word reaches over two of them."""
    return unicodedata.normalize("NFKC", "\n".join(texts)).casefold()


def page(entries: Sequence[Entry[T]], wanted: Wanted) -> Page[T]:
    """Return a page of entries that are in order of their keys.

    Raises:
        InvalidRequest: a negative page size, a query too long, or a token that is not one of this query.
    """
    if wanted.page_size < 0:
        raise InvalidRequest(Violation("page_size", "must not be negative"))
    if len(wanted.query) > _MAX_QUERY_CHARS:
        raise InvalidRequest(Violation("query", f"must not be longer than {_MAX_QUERY_CHARS} characters"))
    words = fold(wanted.query).split()
    scope = (*wanted.scope, " ".join(words))
    found = [entry for entry in entries if all(word in entry.text for word in words)] if words else entries
    begin = bisect.bisect_right(found, _key_of(wanted.page_token, scope), key=_key) if wanted.page_token else 0
    size = min(wanted.page_size or DEFAULT_SIZE, MAX_SIZE)
    return Page(found[begin : begin + size], len(found) - begin, len(found), scope)


def _key(entry: Entry[T]) -> str:
    return entry.key


def _token(key: str, scope: tuple[str, ...]) -> str:
    return base64.urlsafe_b64encode(_digest(key.encode(), scope) + key.encode()).decode()


def _key_of(token: str, scope: tuple[str, ...]) -> str:
    refusal = InvalidRequest(Violation("page_token", "is not one that was given for this query"))
    if len(token) > _MAX_TOKEN_CHARS:
        raise refusal
    try:
        content = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)
        key = content[_DIGEST_BYTES:].decode()
    except (UnicodeError, binascii.Error):
        raise refusal from None
    if _token(key, scope) != token:
        raise refusal
    return key


def _digest(key: bytes, scope: tuple[str, ...]) -> bytes:
    parts = [part.encode() for part in scope]
    framed = b"".join(len(part).to_bytes(4) + part for part in (*parts, key))
    return hashlib.sha256(framed).digest()[:_DIGEST_BYTES]
