"""Checkpoints: what a signed text says of all streams at once (C2SP tlog-checkpoint, with a line a stream), and their files.

A checkpoint is durable before anybody is told of it, no two have the same serial, and a head never has less than in the one
before. What must not go in here: when one is made (signer.py), and whether streams are as heads say (verify.py).
"""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

from broker._native import merkle
from broker.audit import notes
from broker.audit.layout import CHECKPOINTS, NO_HASH
from broker.audit.notes import Keys, NoteRefused, decoded, encoded
from broker.errors import DirectoryUnusable

_NUMBER = re.compile(r"0|[1-9][0-9]{0,19}")
_LINES_BEFORE_HEADS = 6
_MOST = (1 << 64) - 1


class Head(NamedTuple):
    """A stream at one moment."""

    stream: str
    records: int
    batches: int
    chain: bytes
    root: bytes

    def __str__(self) -> str:
        """The leaf of the log tree, without the newline that ends it."""
        return f"{self.stream} {self.records} {self.batches} {encoded(self.chain)} {encoded(self.root)}"

    @property
    def leaf(self) -> bytes:
        """The data of its leaf in the log tree."""
        return f"{self}\n".encode()

    @classmethod
    def parse(cls, text: str) -> Head:
        """Read a head. Raises NoteRefused."""
        match text.split(" "):
            case [stream, records, batches, chain, root]:
                return cls(stream, number_in(records), number_in(batches), decoded(chain, 32), decoded(root, 32))
            case _:
                raise NoteRefused("a head has five parts")


@dataclass(frozen=True)
class Checkpoint:
    """All streams at one moment; heads in order of the bytes of their names."""

    origin: str
    time_ms: int
    serial: int
    previous: bytes
    heads: tuple[Head, ...]
    algorithm: int = 1

    @property
    def root(self) -> bytes:
        """The root of the log tree."""
        return merkle.root([head.leaf for head in self.heads], self.algorithm)

    def text(self) -> str:
        """What is signed."""
        lines = [self.origin, f"{len(self.heads)}", encoded(self.root), f"time {self.time_ms}", f"serial {self.serial}"]
        lines += [f"previous {encoded(self.previous)}", *(f"head {head}" for head in self.heads)]
        return "".join(f"{line}\n" for line in lines)

    @property
    def digest(self) -> bytes:
        """What the next one calls `previous`."""
        return merkle.digest(self.text().encode(), self.algorithm)

    @property
    def by_stream(self) -> dict[str, Head]:
        """Heads by the name of the stream."""
        return {head.stream: head for head in self.heads}

    @classmethod
    def parse(cls, text: str, algorithm: int) -> Checkpoint:
        """Read a text.

        Raises:
            NoteRefused: it is not one that `text` makes; a root that is not that of the heads is among the reasons.
        """
        lines = text.split("\n")[:-1]
        if len(lines) < _LINES_BEFORE_HEADS:
            raise NoteRefused("a checkpoint is cut off")
        time_ms, serial = number_in(_after("time", lines[3])), number_in(_after("serial", lines[4]))
        heads = tuple(Head.parse(_after("head", line)) for line in lines[_LINES_BEFORE_HEADS:])
        made = cls(lines[0], time_ms, serial, decoded(_after("previous", lines[5]), 32), heads, algorithm)
        names = [head.stream.encode() for head in heads]
        if names != sorted(set(names)):
            raise NoteRefused("streams are not in order, or doubled")
        if made.text() != text:
            raise NoteRefused("the root of a checkpoint is not that of its heads")
        return made

    def follow(self, before: Checkpoint | None) -> None:
        """Raise NoteRefused if this is not what may follow on another; on none, if it cannot be the first that is kept."""
        if before is None:
            if self.serial < 1 or (self.serial == 1) != (self.previous == NO_HASH):
                raise NoteRefused("the first checkpoint is not numbered as the first")
            return
        if self.serial != before.serial + 1:
            raise NoteRefused(f"serial {self.serial} follows on {before.serial}")
        if self.previous != before.digest:
            raise NoteRefused("`previous` is not the hash of the checkpoint before")
        now = self.by_stream
        for head in before.heads:
            if head.stream not in now or now[head.stream][1:3] < head[1:3] or now[head.stream].batches < head.batches:
                raise NoteRefused(f"the head of {head.stream} went back")


def number_in(text: str) -> int:
    """Read a number as it is written, without zeros in front. Raises NoteRefused."""
    if not _NUMBER.fullmatch(text) or int(text) > _MOST:
        raise NoteRefused("a number is damaged")
    return int(text)


def _after(name: str, line: str) -> str:
    found, _, rest = line.partition(" ")
    if found != name:
        raise NoteRefused(f"no line `{name}` where it should be")
    return rest


def files_of(directory: Path) -> list[Path]:
    """Return the files of checkpoints, oldest first."""
    return sorted((directory / CHECKPOINTS).glob("*.notes"))


def read_all(directory: Path, keys: Keys, algorithm: int, origin: str | None = None) -> Iterator[tuple[Checkpoint, str]]:
    """Yield checkpoints and their notes, oldest first, each checked against the one before.

    Raises:
        NoteRefused: the next is not as it must be.
        OSError: a file cannot be read.
    """
    before = None
    for file in files_of(directory):
        for note in notes.split(file.read_bytes()):
            read = read_one(note, keys, algorithm, origin)
            read.follow(before)
            yield read, note
            before = read


def read_one(note: str, keys: Keys, algorithm: int, origin: str | None = None) -> Checkpoint:
    """Read a note by itself. Raises NoteRefused."""
    read = Checkpoint.parse(keys.open(note), algorithm)
    if origin is not None and read.origin != origin:
        raise NoteRefused("a checkpoint is of another log")
    return read


class CheckpointFiles:
    """The checkpoints of a log, for the one process that adds to them."""

    def __init__(self, directory: Path, keys: Keys, algorithm: int, origin: str) -> None:
        """Read the newest one. A note that a power cut left unfinished at the very end, and nobody was told of, is cut off.

        Raises:
            NoteRefused: the newest file is damaged otherwise.
            DirectoryUnusable: files cannot be read or written.
        """
        self._directory, self._keys, self._algorithm, self._origin = directory, keys, algorithm, origin
        try:
            (directory / CHECKPOINTS).mkdir(mode=0o700, exist_ok=True)
            self._file = max((file.name for file in files_of(directory)), default="")
            self.newest, self.newest_note, self.cut = self._read_newest()
        except OSError as error:
            raise DirectoryUnusable(f"{directory / CHECKPOINTS}: cannot be used ({error.strerror})") from error

    def add(self, checkpoint: Checkpoint, note: str) -> None:
        """Make a checkpoint durable. Raises OSError; then none may be signed until files were opened anew."""
        checkpoint.follow(self.newest)
        hour = dt.datetime.fromtimestamp(checkpoint.time_ms / 1000, dt.UTC).strftime("%Y-%m-%dT%H")
        self._file = max(f"{hour}.notes", self._file)  # the clock may go back
        notes.append(self._directory / CHECKPOINTS / self._file, note)
        self.newest, self.newest_note = checkpoint, note

    def _read_newest(self) -> tuple[Checkpoint | None, str, int]:
        """Return the newest checkpoint, its note, and how many bytes had to be cut off behind it."""
        for file in reversed(files_of(self._directory)):
            whole, cut = notes.whole(file.read_bytes())
            notes.write_anew(file, whole)
            if whole:
                note = list(notes.split(whole))[-1]
                return read_one(note, self._keys, self._algorithm, self._origin), note, cut
        return None, "", 0


def newest(directory: Path, keys: Keys, algorithm: int, origin: str | None = None) -> tuple[Checkpoint, str] | None:
    """Return the newest checkpoint and its note; None if there is none. Raises NoteRefused, OSError."""
    for file in reversed(files_of(directory)):
        found = list(notes.split(file.read_bytes()))
        if found:
            return read_one(found[-1], keys, algorithm, origin), found[-1]
    return None


def find(directory: Path, serial: int, keys: Keys, algorithm: int, origin: str) -> Checkpoint | None:
    """Return the checkpoint of a serial, looking from the newest on. Raises NoteRefused, OSError."""
    line = f"\nserial {serial}\n".encode()
    for file in reversed(files_of(directory)):
        data = file.read_bytes()
        for note in notes.split(data) if line in data else ():
            if line.decode() in note:
                return read_one(note, keys, algorithm, origin)
    return None


def covering(found: Sequence[Checkpoint], stream: str, records: int) -> Checkpoint | None:
    """Return the first checkpoint that has so many records of a stream."""
    return next((one for one in found if stream in one.by_stream and one.by_stream[stream].records >= records), None)
