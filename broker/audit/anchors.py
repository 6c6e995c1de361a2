"""Anchors: how a stream stood where a segment of it begins, signed, so that it verifies when those before were taken away.

    <origin>/anchor
    <batches>
    <root of the stream tree of that size>
    stream <stream>
    segment <the segment that begins there>
    records <records>
    chain <chain hash>
    node <root of a whole subtree, largest first> …

What must not go in here: taking segments away (archive.py).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from broker._native.journal_check import Walk
from broker.audit import notes
from broker.audit.checkpoints import number_in
from broker.audit.layout import ANCHORS, segments_of
from broker.audit.notes import Keys, NoteRefused, decoded, encoded

_LINES_BEFORE_NODES = 7


@dataclass(frozen=True)
class Anchor:
    """A stream where a segment begins."""

    origin: str  # of the log
    stream: str
    segment: int
    batches: int
    records: int
    chain: bytes
    nodes: tuple[bytes, ...]

    def walk(self, algorithm: int) -> Walk:
        """Return the stream as it stood. Raises ValueError if nodes are not those of so many batches."""
        return Walk(algorithm, self.batches, self.records, self.chain, self.nodes)

    def text(self, algorithm: int) -> str:
        """What is signed."""
        root = encoded(self.walk(algorithm).root())
        lines = [f"{self.origin}/anchor", f"{self.batches}", root, f"stream {self.stream}", f"segment {self.segment}"]
        lines += [f"records {self.records}", f"chain {encoded(self.chain)}", *(f"node {encoded(node)}" for node in self.nodes)]
        return "".join(f"{line}\n" for line in lines)

    @classmethod
    def parse(cls, text: str, algorithm: int) -> Anchor:
        """Read a text. Raises NoteRefused unless `text` makes it."""
        lines = text.split("\n")[:-1]
        if len(lines) < _LINES_BEFORE_NODES or not lines[0].endswith("/anchor"):
            raise NoteRefused("an anchor is cut off")
        told = [line.partition(" ")[2] for line in lines]
        numbers = number_in(told[4]), number_in(lines[1]), number_in(told[5])
        nodes = tuple(decoded(node, 32) for node in told[_LINES_BEFORE_NODES:])
        made = cls(lines[0].removesuffix("/anchor"), told[3], *numbers, decoded(told[6], 32), nodes)
        try:
            again = made.text(algorithm)
        except ValueError:
            raise NoteRefused("an anchor has other nodes than its size says") from None
        if again != text:
            raise NoteRefused("an anchor is not in its one form, or its root is not that of its nodes")
        return made


def anchor_file(directory: Path, stream: str) -> Path:
    """Return where the anchors of a stream are."""
    return directory / ANCHORS / f"{stream}.notes"


def find_anchor(folder: Path, segment: int, algorithm: int, keys: Keys) -> tuple[Anchor, str]:
    """Return the anchor of a segment of a stream, and its note.

    Raises:
        NoteRefused: there is none, or one before it is damaged.
        OSError: it cannot be read.
    """
    file = anchor_file(folder.parent, folder.name)
    for note in notes.split(file.read_bytes() if file.exists() else b""):
        anchor = Anchor.parse(keys.open(note), algorithm)
        if anchor.stream != folder.name:
            raise NoteRefused("an anchor is of another stream")
        if anchor.segment == segment:
            return anchor, note
    raise NoteRefused("segments before the first were taken away, and no anchor says how the stream stood")


def anchored_walk(folder: Path, algorithm: int, keys: Keys) -> Walk | None:
    """Return a stream as it stands where its first kept segment begins; None if that is its very first, or nothing says.

    Raises:
        NoteRefused: anchors are damaged.
    """
    first = min(segments_of(folder), default=1)
    return find_anchor(folder, first, algorithm, keys)[0].walk(algorithm) if first > 1 else None
