"""Trees and signed notes of the audit log, for its second verifier (audit.py): RFC 6962 by its recursion, notes strictly.

What must not go in here: an import of `broker`, or what a segment is.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

ZEROS = bytes(32)


class Bad(Exception):
    """What is read is not as it must be."""


class Head(NamedTuple):
    stream: str
    records: int
    batches: int
    chain: bytes
    root: bytes

    def line(self) -> str:
        return f"{self.stream} {self.records} {self.batches} {b64(self.chain)} {b64(self.root)}\n"


class Note(NamedTuple):
    text: str
    root: bytes
    serial: int
    previous: bytes
    heads: dict[str, Head]


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


def unb64(text: str) -> bytes:
    data = base64.b64decode(text, validate=True)
    if b64(data) != text:
        raise Bad("base64 that has another form too")
    return data


class Tree:
    """RFC 6962 §2.1 over leaf hashes. `known` are roots of full subtrees whose leaves are no longer there, by (first, end)."""

    def __init__(self, algorithm: str, known: dict[tuple[int, int], bytes] | None = None) -> None:
        self.algorithm, self.known = algorithm, dict(known or {})
        self.leaves: dict[int, bytes] = {}
        self.size = max((end for _, end in self.known), default=0)

    def hash(self, *parts: bytes) -> bytes:
        return hashlib.new(self.algorithm, b"".join(parts)).digest()

    def append(self, data: bytes) -> None:
        self.leaves[self.size] = self.hash(b"\0", data)
        self.size += 1

    def root(self, first: int, end: int) -> bytes:
        if first == end:
            return self.hash()
        if (first, end) in self.known:
            return self.known[first, end]
        if end - first == 1:
            return self.leaves[first]
        middle = first + (1 << (end - first - 1).bit_length() - 1)
        made = self.hash(b"\1", self.root(first, middle), self.root(middle, end))
        if end - first & end - first - 1 == 0:  # a full subtree stays as it is, whatever comes behind it
            self.known[first, end] = made
        return made

    def path(self, index: int, first: int, end: int) -> list[bytes]:
        if end - first == 1:
            return []
        middle = first + (1 << (end - first - 1).bit_length() - 1)
        if index < middle:
            return [*self.path(index, first, middle), self.root(middle, end)]
        return [*self.path(index, middle, end), self.root(first, middle)]


def tree_over(algorithm: str, leaves: Sequence[bytes]) -> Tree:
    tree = Tree(algorithm)
    for leaf in leaves:
        tree.append(leaf)
    return tree


def root_from(algorithm: str, leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Follow a path up from a leaf hash, by the recursion of RFC 6962 §2.1.1."""
    if size == 1:
        if path:
            raise Bad("path is too long")
        return leaf
    if not path or not 0 <= index < size:
        raise Bad("path is too short, or the index beyond the tree")
    middle = 1 << (size - 1).bit_length() - 1
    if index < middle:
        parts = root_from(algorithm, leaf, index, middle, path[:-1]), path[-1]
    else:
        parts = path[-1], root_from(algorithm, leaf, index - middle, size - middle, path[:-1])
    return hashlib.new(algorithm, b"\1" + parts[0] + parts[1]).digest()


# --- notes ---------------------------------------------------------------------------------------------------------------


def key_of(vkey: str) -> tuple[str, bytes, Ed25519PublicKey]:
    """Return name, key hash and key of a C2SP verifier key: `<name>+<hash in hex>+<base64 of 0x01 and the key>`."""
    name, told, encoded = vkey.strip().split("+", 2)
    public = unb64(encoded)
    short = hashlib.sha256(name.encode() + b"\n" + public).digest()[:4]
    if short.hex() != told or public[:1] != b"\1":
        raise Bad("verifier key is not one of Ed25519")
    return name, short, Ed25519PublicKey.from_public_bytes(public[1:])


def opened(note: str, vkeys: Sequence[str]) -> str:
    """Return the text of a signed note. Every signature line must be whole, one of them by a key that is trusted."""
    text, empty, signatures = note.partition("\n\n")
    text += "\n"
    if not empty or not signatures.endswith("\n"):
        raise Bad("note is cut off")
    trusted = {(name, short): key for name, short, key in map(key_of, vkeys)}
    good = 0
    for line in signatures[:-1].split("\n"):
        dash, name, encoded = line.split(" ", 2)
        signature = unb64(encoded)
        if dash != "—" or len(signature) != 68:
            raise Bad("signature line")
        if (name, signature[:4]) in trusted:
            trusted[name, signature[:4]].verify(signature[4:], text.encode())
            good += 1
    if not good:
        raise Bad("no signature by a key that is trusted")
    return text


def number_in(text: str) -> int:
    if not re.fullmatch(r"0|[1-9][0-9]{0,19}", text) or int(text) >= 1 << 64:
        raise Bad("number")
    return int(text)


def field(line: str, name: str) -> str:
    found, _, value = line.partition(" ")
    if found != name:
        raise Bad(f"no `{name}`")
    return value


def hash_in(text: str) -> bytes:
    value = unb64(text)
    if len(value) != 32:
        raise Bad("hash")
    return value


def note_of(text: str, origin: str | None, algorithm: str) -> Note:
    lines = text[:-1].split("\n")
    if len(lines) < 6 or (origin is not None and lines[0] != origin):
        raise Bad("origin")
    number_in(field(lines[3], "time"))
    heads = [head_of(field(line, "head")) for line in lines[6:]]
    names = [head.stream.encode() for head in heads]
    root = hash_in(lines[2])
    if number_in(lines[1]) != len(heads) or names != sorted(set(names)):
        raise Bad("streams")
    if tree_over(algorithm, [head.line().encode() for head in heads]).root(0, len(heads)) != root:
        raise Bad("root of the log tree is not that of the heads")
    by_name = {head.stream: head for head in heads}
    return Note(text, root, number_in(field(lines[4], "serial")), hash_in(field(lines[5], "previous")), by_name)


def head_of(line: str) -> Head:
    stream, records, batches, chain, root = line.split(" ")
    return Head(stream, number_in(records), number_in(batches), hash_in(chain), hash_in(root))


def follows(note: Note, before: Note | None, algorithm: str) -> None:
    if before is None:
        if note.serial < 1 or (note.serial == 1) != (note.previous == ZEROS):
            raise Bad("first checkpoint")
        return
    if note.serial != before.serial + 1:
        raise Bad("serials have a hole or a double")
    if note.previous != hashlib.new(algorithm, before.text.encode()).digest():
        raise Bad("`previous` is not the hash of the checkpoint before")
    for head in before.heads.values():
        now = note.heads.get(head.stream)
        if now is None or now.records < head.records or now.batches < head.batches:
            raise Bad(f"head of {head.stream} went back")


def notes_in(data: bytes, vkeys: Sequence[str]) -> Iterator[str]:
    for note in data.decode().split("---\n") if data else ():
        yield opened(note, vkeys)


MISTAKES = (Bad, ValueError, InvalidSignature, KeyError)


def checkpoints_of(files: Sequence[Path], vkeys: Sequence[str], origin: str | None, algorithm: str) -> tuple[list[Note], str]:
    """Return the checkpoints up to the first that is wrong, and what is wrong with that."""
    notes: list[Note] = []
    try:
        for file in files:
            for text in notes_in(file.read_bytes(), vkeys):
                note = note_of(text, origin, algorithm)
                follows(note, notes[-1] if notes else None, algorithm)
                notes.append(note)
    except MISTAKES as error:
        return notes, f"behind serial {notes[-1].serial if notes else 0}: {error or type(error).__name__}"
    return notes, ""
