"""Signed notes (C2SP signed-note, v1): texts with lines of signatures behind them, and files of such notes.

    text, each line ended by a newline
    (an empty line)
    — <key name> <base64 of the key's first 4 hash bytes and an Ed25519 signature over the text>

A note has one form: what parses is, byte for byte, what its parts make. What must not go in here: what a text says.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from broker.errors import ConfigurationError, DirectoryUnusable, SecretMissing

SEPARATOR = "---\n"
_DASH = "—"
_ED25519 = b"\x01"
_TAIL_BYTES = 1 << 20  # many times the longest note


class NoteRefused(ValueError):
    """A note, or its text, is not as it must be; the text says why."""


def encoded(data: bytes) -> str:
    """Return base64."""
    return base64.b64encode(data).decode("ascii")


def decoded(text: str, size: int | None = None) -> bytes:
    """Return what base64 stands for, of so many bytes. Raises NoteRefused, also where there is another form of the same."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise NoteRefused("base64 is damaged") from None
    if encoded(data) != text or (size is not None and len(data) != size):
        raise NoteRefused("base64 is of another length or form")
    return data


@dataclass(frozen=True)
class Verifier:
    """A public key under a name."""

    name: str
    public: Ed25519PublicKey

    @property
    def short(self) -> bytes:
        """The 4 bytes by which a signature names its key."""
        return hashlib.sha256(f"{self.name}\n".encode() + _ED25519 + self.public.public_bytes_raw()).digest()[:4]

    def __str__(self) -> str:
        """As C2SP writes it: `<name>+<short in hex>+<base64>`."""
        return f"{self.name}+{self.short.hex()}+{encoded(_ED25519 + self.public.public_bytes_raw())}"

    @classmethod
    def parse(cls, text: str) -> Verifier:
        """Read a key as it is written. Raises ConfigurationError."""
        try:
            name, _, key = text.strip().split("+", 2)
            raw = decoded(key, 33)
            made = cls(name, Ed25519PublicKey.from_public_bytes(raw[1:]))
        except ValueError:
            raise ConfigurationError("a verifier key is `<name>+<hash>+<base64>` (C2SP signed-note), of Ed25519") from None
        if raw[:1] != _ED25519 or str(made) != text.strip():
            raise ConfigurationError("a verifier key is damaged: its hash is another")
        return made


@dataclass(frozen=True)
class Signer:
    """A private key under a name, which has neither spaces nor `+` in it."""

    name: str
    private: Ed25519PrivateKey

    @property
    def verifier(self) -> Verifier:
        """What its signatures are checked with."""
        return Verifier(self.name, self.private.public_key())

    def sign(self, text: str) -> str:
        """Return the note of a text."""
        return f"{text}\n{_DASH} {self.name} {encoded(self.verifier.short + self.private.sign(text.encode()))}\n"

    def __repr__(self) -> str:
        return f"Signer({self.name})"


def open_signer(file: Path, name: str) -> Signer:
    """Return the key in a file (PEM), which is made where there is none.

    Raises:
        ConfigurationError: the name has spaces or `+` in it.
        DirectoryUnusable: it cannot be made.
        SecretMissing: it cannot be read, or is not an Ed25519 key.
    """
    if not name or "+" in name or any(letter.isspace() for letter in name):
        raise ConfigurationError("the name of a checkpoint key has neither spaces nor `+` in it")
    try:
        if not file.exists():
            _make(file)
        private = serialization.load_pem_private_key(file.read_bytes(), password=None)
    except OSError as error:
        raise DirectoryUnusable(f"{file}: cannot be made or read ({error.strerror})") from error
    except (ValueError, TypeError):
        raise SecretMissing(f"{file}: is not a private key in PEM") from None
    if not isinstance(private, Ed25519PrivateKey):
        raise SecretMissing(f"{file}: is not an Ed25519 key")
    return Signer(name, private)


def _make(file: Path) -> None:
    """Whole and durable, or not at all: what is signed with a key that a power cut takes could never be checked."""
    formats = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    made = file.with_name(f"{file.name}.{os.getpid()}.new")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(Ed25519PrivateKey.generate().private_bytes(*formats))
        out.flush()
        os.fsync(descriptor)
    try:
        os.link(made, file)
    except FileExistsError:
        pass  # whoever is first
    finally:
        made.unlink()
    sync_folder(file.parent)


def sync_folder(folder: Path) -> None:
    """Have the names in a folder reach the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


class Keys:
    """The keys that are trusted."""

    def __init__(self, verifiers: Iterable[Verifier]) -> None:
        self._keys = {(key.name, key.short): key.public for key in verifiers}

    def open(self, note: str) -> str:
        """Return the text of a note that one of the keys signed; no key may have a signature there that does not hold.

        Raises:
            NoteRefused: it is cut off, not in the one form a note has, or signed by none of the keys.
        """
        text, empty, signatures = note.partition("\n\n")
        if not empty or not signatures.endswith("\n"):
            raise NoteRefused("a note is cut off")
        text += "\n"
        if not sum(self._holds(text, line) for line in signatures[:-1].split("\n")):
            raise NoteRefused("a note is signed by no key that is trusted")
        return text

    def _holds(self, text: str, line: str) -> bool:
        dash, _, rest = line.partition(" ")
        name, _, signature = rest.partition(" ")
        raw = decoded(signature, 68)
        if dash != _DASH:
            raise NoteRefused("a line of a signature is damaged")
        key = self._keys.get((name, raw[:4]))
        if key is None:
            return False  # a witness may sign too
        try:
            key.verify(raw[4:], text.encode())
        except InvalidSignature:
            raise NoteRefused("a signature does not hold") from None
        return True


def split(data: bytes) -> Iterator[str]:
    """Yield the notes of a file. Raises NoteRefused if it is not text."""
    try:
        yield from data.decode("utf-8").split(SEPARATOR) if data else ()
    except UnicodeDecodeError:
        raise NoteRefused("a file of notes is not UTF-8") from None


def append(file: Path, note: str) -> None:
    """Append a note to a file, durably. Raises OSError; then it may or may not be there; in part only after a power cut."""
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
    try:
        before = os.fstat(descriptor).st_size
        _write(descriptor, ((SEPARATOR if before else "") + note).encode(), before)
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)
    if not before:
        sync_folder(file.parent)


def _write(descriptor: int, data: bytes, at: int) -> None:
    """Write all of it or, where there is no room for it, nothing: who verifies meanwhile must not find a part."""
    try:
        while data:
            data = data[os.write(descriptor, data) :]
    except OSError:
        os.ftruncate(descriptor, at)
        raise


def whole(data: bytes) -> tuple[bytes, int]:
    """Return the notes that are whole, and how many bytes of one that is not follow, be it of the line before it alone."""
    separator = SEPARATOR.encode()
    *ended, last = data.split(separator)
    if _is_ended(last):
        return data, 0
    for torn in (separator[:size] for size in (1, 2, 3)):
        if last.endswith(torn) and _is_ended(last[: -len(torn)]):
            return data[: -len(torn)], len(torn)
    kept = separator.join(ended)
    return kept, len(data) - len(kept)


def last(file: Path) -> tuple[str, int]:
    """Return the last whole note of a file, "" of an empty one, and where it ends. Reads the end alone: there may be years.

    Raises:
        NoteRefused: there is no note at its end.
        OSError: it cannot be read.
    """
    with file.open("rb") as opened:
        size = opened.seek(0, os.SEEK_END)
        begin = opened.seek(max(0, size - _TAIL_BYTES))
        data = opened.read()
    kept, cut = whole(data)
    before, _, note = kept.rpartition(SEPARATOR.encode())
    if (data and not _is_ended(note)) or (begin and not before):
        raise NoteRefused("a file of notes has none at its end")
    return note.decode("utf-8", "replace"), begin + len(data) - cut


def _is_ended(note: bytes) -> bool:
    text, empty, signatures = note.partition(b"\n\n")
    return bool(text and empty and signatures.startswith("—".encode()) and signatures.endswith(b"\n"))


def write_anew(file: Path, data: bytes) -> None:
    """Replace a file by one that is durable. What an fdatasync failed for counts as written ever after, and may not be.

    Raises OSError.
    """
    made = file.with_suffix(".new")
    descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    with os.fdopen(descriptor, "wb") as out:
        out.write(data)
        out.flush()
        os.fsync(descriptor)
    made.replace(file)
    sync_folder(file.parent)
