"""A disk that fails as it is told to, and what a power cut would leave of what was written to it (disk_faults.c).

The trace of a process has every change in order. `Disk` replays it up to a moment and then loses what a disk may lose: of
writes after the last sync of their file any part, by sectors; of names after the last sync of their folder the last ones.
Whoever was told that something is durable must find it in whatever is left. What must not go in here: what is written.
"""

from __future__ import annotations

import mmap
import random
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

SOURCE = Path(__file__).with_suffix(".c")
SECTOR = 512
PWRITE, FDATASYNC, FALLOCATE, FSYNC = range(4)
ALWAYS = 1 << 30
_EVENT = struct.Struct("<ciQQ")
_FAULT, _WHERE = struct.Struct("@4i"), struct.Struct("@64s")


class NoCompiler(Exception):
    """There is no C compiler here."""


def build(directory: Path) -> Path:
    """Compile what is to be preloaded; returns the file."""
    made = directory / "disk_faults.so"
    try:
        subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-o", str(made), str(SOURCE), "-ldl"], check=True, capture_output=True)
    except FileNotFoundError as error:
        raise NoCompiler from error
    return made


class Control:
    """Faults of the disk of other processes, which are started with `environment`."""

    def __init__(self, directory: Path) -> None:
        """Build what is to be preloaded, and have no faults. Raises NoCompiler."""
        self._file = directory / "faults"
        self._file.write_bytes(bytes(4 * _FAULT.size + _WHERE.size))
        self.environment = {"LD_PRELOAD": str(build(directory)), "DISK_CONTROL": str(self._file)}
        with self._file.open("r+b") as file:
            self._mapped = mmap.mmap(file.fileno(), 0)

    def fault(self, call: int, where: str, *, count: int = 0, error: int = 0, delay_s: float = 0) -> None:
        """Let a call by files with this in their path take so long from now on, and fail so often."""
        _WHERE.pack_into(self._mapped, 4 * _FAULT.size, where.encode())
        _FAULT.pack_into(self._mapped, call * _FAULT.size, 0, count, error, int(delay_s * 1e6))

    def mend(self) -> None:
        """Have no more faults. What waits already waits on."""
        for call in range(4):
            _FAULT.pack_into(self._mapped, call * _FAULT.size, 0, 0, 0, 0)


class Event(NamedTuple):
    """One change: O opened, W written, S synced, R renamed, U removed, A acknowledged."""

    kind: str
    file: int
    at: int
    data: bytes


def read_trace(file: Path) -> list[Event]:
    def events() -> Iterator[Event]:
        data, at = file.read_bytes(), 0
        while at < len(data):
            kind, descriptor, offset, size = _EVENT.unpack_from(data, at)
            at += _EVENT.size
            yield Event(kind.decode(), descriptor, offset, data[at : at + size] if kind != b"A" else b"")
            at += size if kind != b"A" else 0

    return list(events())


class _File:
    def __init__(self) -> None:
        self.durable = bytearray()
        self.pending: list[tuple[int, bytes]] = []

    def apply(self, at: int, data: bytes) -> None:
        self.durable.extend(bytes(max(at + len(data) - len(self.durable), 0)))
        self.durable[at : at + len(data)] = data

    def sync(self) -> None:
        for at, data in self.pending:
            self.apply(at, data)
        self.pending.clear()

    def lose(self, draw: random.Random) -> None:
        """Keep any sectors of what was not synced, most of them, few or none."""
        likely = draw.choice((0.0, 0.1, 0.5, 0.9, 1.0))
        for at, data in self.pending:
            for begin in range(at - at % SECTOR, at + len(data), SECTOR):
                first, last = max(begin, at), min(begin + SECTOR, at + len(data))
                if draw.random() < likely:
                    self.apply(first, data[first - at : last - at])


class Disk:
    """One folder, after a part of a trace. `syncs` is what a disk does that obeys; without, it only says that it has."""

    def __init__(self, *, syncs: bool = True) -> None:
        self.acknowledged = 0
        self._syncs = syncs
        self._open: dict[int, _File] = {}
        self._now: dict[str, _File] = {}  # names as a process sees them
        self._names: list[dict[str, _File]] = [{}]  # as the folder was after each change since it was synced

    def take(self, event: Event) -> None:
        getattr(self, f"_on_{event.kind}")(event)

    def cut(self, folder: Path, draw: random.Random) -> None:
        """Write to a folder what is left when the power goes now. The disk is of no use after it."""
        for name, file in draw.choice(self._names).items():
            file.lose(draw)
            (folder / name).write_bytes(file.durable)

    def _renamed(self) -> None:
        self._names.append(dict(self._now))

    def _on_O(self, event: Event) -> None:
        self._open[event.file] = self._now[event.data.decode()] = _File()
        self._renamed()

    def _on_W(self, event: Event) -> None:
        self._open[event.file].pending.append((event.at, event.data))

    def _on_S(self, event: Event) -> None:
        if not self._syncs:
            return
        if event.file in self._open:
            self._open[event.file].sync()
        else:
            self._names = [dict(self._now)]

    def _on_R(self, event: Event) -> None:
        old, new = event.data.decode().split("\0")
        self._now[new] = self._now.pop(old)
        self._renamed()

    def _on_U(self, event: Event) -> None:
        self._now.pop(event.data.decode(), None)
        self._renamed()

    def _on_A(self, event: Event) -> None:
        self.acknowledged = event.at
