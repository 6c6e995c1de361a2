"""Subjects and requests as the audit log keeps them: HMAC-SHA-256 under a key that is used for nothing else.

Identifiers can be enumerated, so a bare hash of one is as good as the identifier; whoever has the log and not the key learns
nothing from it, and destroying the key makes every subject of the log unknown for good while the log still verifies.
What must not go in here: what a request is made of.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from broker._native import merkle
from broker._native.journal import Writer
from broker._native.trail import Trail
from broker.key_file import open_key

KEY_ID_BYTES = 16
SUBJECT, REQUEST = b"subject\0", b"request\0"  # no digest of the one is ever one of the other


class SubjectKey:
    """The key, and what is made with it."""

    def __init__(self, key: bytes) -> None:
        self._key = key

    def __repr__(self) -> str:
        return "SubjectKey(…)"

    def identifier(self, algorithm: int = merkle.SHA256) -> bytes:
        """What segments name it by: the first 16 bytes of its hash, by the hash of the log."""
        return merkle.digest(self._key, algorithm)[:KEY_ID_BYTES]

    def trail(self, writer: Writer, stream: str) -> Trail:
        """Return what puts down natively under this key."""
        return Trail(writer, stream, key=self._key, subject=SUBJECT, request=REQUEST)

    def subject(self, identifier: str) -> bytes:
        """Return HMAC-SHA-256("subject", 0, identifier as UTF-8): field `subject`. The identifier is in canonical form."""
        return hmac.digest(self._key, SUBJECT + identifier.encode(), "sha256")

    def request(self, request: bytes) -> bytes:
        """Return HMAC-SHA-256("request", 0, request): field `request_digest`."""
        return hmac.digest(self._key, REQUEST + request, "sha256")


def open_subject_key(file: Path) -> SubjectKey:
    """Return the key in a file, which is made where there is none.

    Raises:
        DirectoryUnusable: it cannot be made.
        SecretMissing: it cannot be read, or does not hold 32 bytes.
    """
    return SubjectKey(open_key(file, "audit.subject_key_file"))
