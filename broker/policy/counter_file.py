"""The file of counters that every process of a broker maps: made, refused when it is of another boot, made larger when full.

It is never synced: the kernel keeps it for as long as the boot lasts, whatever process dies, and after that it is made anew.
What was reserved and not spent is then lost, which wastes and never exceeds. What must not go in here: what is counted
(`broker/_native/counters.pyi`).
"""

from __future__ import annotations

import mmap
import os
import struct
import time
from pathlib import Path

from broker._native.counters import Counters
from broker._native.policy import Image
from broker.boot import read_boot_id
from broker.errors import DirectoryUnusable

_HEADER = struct.Struct("<8sI36s16x")
_MAGIC, _FORMAT = b"SDBCOUNT", 1
LINE_BYTES = 64
MIN_LINES = 1 << 14


class CounterFile:
    """Counters in a mapped file, the only one to make it larger."""

    def __init__(self, file: Path, boot_id: str | None = None) -> None:
        """Map the file, making it where it is missing or of no use.

        Raises:
            DirectoryUnusable: it cannot be made.
        """
        self._file = file
        boot = (read_boot_id() if boot_id is None else boot_id).encode()
        self._header = _HEADER.pack(_MAGIC, _FORMAT, boot)
        if not boot or not self._is_good():
            self._make(MIN_LINES).replace(file)
        self._mapping = _Mapping(file)
        self.made = time.time_ns()  # another number whenever the counters are in another file
        self.counters.settle()  # nobody else moves them any more

    @property
    def counters(self) -> Counters:
        """The counters of now; `fit` may put others in their place."""
        return self._mapping.counters

    def fit(self, image: Image) -> None:
        """Make room for every grant of an image, twice over; what was counted for those that have gone is dropped.

        The new file is whole before it takes the place of the old one, and what is in the one is not in the other any more:
        a process that still has the old one mapped finds nothing there to spend.

        Raises:
            DirectoryUnusable: the larger file cannot be made; the old one stays in use.
        """
        taken, lines = self.counters.lines()
        if 2 * taken <= lines and 4 * image.grants <= lines:
            return
        made = self._make(4 * image.grants)
        mapping = _Mapping(made)
        mapping.counters.adopt(self.counters, image)
        made.replace(self._file)
        mapping, self._mapping, self.made = self._mapping, mapping, time.time_ns()
        mapping.close()

    def close(self) -> None:
        """Let go of the mapping."""
        self._mapping.close()

    def _is_good(self) -> bool:
        """Of this boot, and whole: a power cut may have left anything."""
        try:
            with self._file.open("rb") as opened:
                header = opened.read(_HEADER.size)
                lines, rest = divmod(os.fstat(opened.fileno()).st_size - _HEADER.size, LINE_BYTES)
        except OSError:
            return False
        return header == self._header and not rest and lines >= MIN_LINES and lines & (lines - 1) == 0

    def _make(self, lines: int) -> Path:
        """Make an empty file beside the one in use. Its room is reserved: a full disk is an error here, not a signal later."""
        size = _HEADER.size + LINE_BYTES * max(MIN_LINES, 1 << (lines - 1).bit_length())
        made = self._file.with_name(f"{self._file.name}.new")
        try:
            self._file.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            with os.fdopen(descriptor, "wb") as out:
                out.write(self._header)
                out.flush()
                os.posix_fallocate(descriptor, 0, size)
        except OSError as error:
            raise DirectoryUnusable(f"{made}: cannot be made ({error.strerror})") from error
        return made


def map_counters(file: Path) -> Counters:
    """Map the counters that a core has made; they stay mapped as long as they are used.

    Raises:
        DirectoryUnusable: there are none, or none that are whole.
    """
    try:
        return _Mapping(file).counters
    except ValueError as error:
        raise DirectoryUnusable(f"{file}: holds no counters ({error})") from error


class _Mapping:
    """A mapped file and the counters in it."""

    def __init__(self, file: Path) -> None:
        try:
            with file.open("r+b") as opened:
                self._mapped = mmap.mmap(opened.fileno(), 0)
        except OSError as error:
            raise DirectoryUnusable(f"{file}: cannot be mapped ({error.strerror})") from error
        self._lines = memoryview(self._mapped)[_HEADER.size :]
        self.counters = Counters(self._lines)

    def close(self) -> None:
        self.counters.close()
        self._lines.release()
        self._mapped.close()
