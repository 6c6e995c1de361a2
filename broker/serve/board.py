"""The files by which core and fronts tell one another what is so: the core's board, and each front's tally.

A word of the board changes after what it is about has changed, so who sees the word finds the thing. What must not go in here:
what a process does about it (core.py, front.py).
"""

from __future__ import annotations

import mmap
import os
import threading
from collections.abc import Iterator
from pathlib import Path

from broker._native.shared import BOARD_BYTES, SLOT_BYTES, SUMS_BYTES, Board, Tally
from broker.errors import DirectoryUnusable

BOARD = "board"
TALLIES = "fronts"
FOLLOWS = b"front/follows"  # the first slot: by which snapshot a front decides (0: by none), and its process id
SERVES = b"front/serves"  # the second: its process id, as long as it takes connections
CONNECTED = b"front/connected"  # the third slot: 1 as long as it has a connection to the core
SLOTS = 16384  # interfaces and other names that a front counts under; the file is sparse


def open_board(data_dir: Path) -> Board:
    """Map the board, making it where there is none.

    Raises:
        DirectoryUnusable: it cannot be made.
    """
    return Board(_map(data_dir / BOARD, BOARD_BYTES))


def open_tally(file: Path) -> Tally:
    """Map a front's tally, making it where there is none. Raises DirectoryUnusable as `open_board` does."""
    return Tally(_map(file, SUMS_BYTES + SLOTS * SLOT_BYTES))


def tally_file(data_dir: Path, slot: int) -> Path:
    """Return where the front of a slot counts."""
    return data_dir / TALLIES / f"{slot}.tally"


def is_alive(pid: int) -> bool:
    """Whether there is such a process."""
    return pid > 0 and Path(f"/proc/{pid}").exists()


def snapshot_word(digest: bytes) -> int:
    """Return what the board says of a snapshot: enough of its digest to tell it from any other."""
    return int.from_bytes(digest[:8])


def _map(file: Path, size: int) -> mmap.mmap:
    try:
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            os.ftruncate(descriptor, size)
            return mmap.mmap(descriptor, size)
        finally:
            os.close(descriptor)
    except OSError as error:
        raise DirectoryUnusable(f"{file}: cannot be made ({error.strerror})") from error


class NamedCounts:
    """Slots of a tally by name."""

    def __init__(self, tally: Tally) -> None:
        self.tally = tally
        self._turn = threading.Lock()  # names are given by two threads of a front
        self._slots: dict[bytes, int] = {}
        while (slot := len(self._slots)) < tally.size and (name := tally.name(slot)):
            self._slots[name] = slot

    def slot(self, name: bytes) -> int:
        """Return a name's slot, giving it one; when all are taken, the last one, which is then for all others."""
        with self._turn:
            slot = self._slots.get(name)
            if slot is None:
                slot = min(len(self._slots), self.tally.size - 1)
                self.tally.set_name(slot, name if slot < self.tally.size - 1 else b"others")
                self._slots[name] = slot
            return slot

    def all(self) -> Iterator[tuple[bytes, int, int]]:
        """Give every name with its counts, as they stand now."""
        for slot in range(self.tally.size):
            if not (name := self.tally.name(slot)):
                return
            yield (name, *self.tally.counts(slot))

    def put(self, name: bytes, count: int, other: int = 0) -> None:
        """Say how many of something there have been, and maybe of something else."""
        self.tally.put(self.slot(name), count, other)
