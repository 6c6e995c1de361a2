"""The file of counters that every process of a broker maps: made, refused when it is of another boot, made larger when full.

It is never synced: the kernel keeps it for as long as the boot lasts, whatever process dies, and after that it is made anew.
What was reserved and not spent is then lost, which wastes and never exceeds. What must not go in here: what is counted
(`broker/_native/counters.pyi`).
"""

from __future__ import annotations

import mmap
import os
import struct
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
        self._boot = (read_boot_id() if boot_id is None else boot_id).encode()
        self._map(0)

    def fit(self, image: Image) -> None:
        """Make room for every grant of an image, twice over; what was counted for those that have gone is dropped.

        Raises:
            DirectoryUnusable: the larger file cannot be made.
        """
        taken, lines = self.counters.lines()
        wanted = (
            {counter_of_term(image, ref) for ref in image.terms()} if 2 * taken > lines or 4 * image.grants > lines else None
        )
        if wanted is None:
            return
        kept = [
            line
            for at in range(lines)
            if (line := self._line(at))[:8] != bytes(8) and int.from_bytes(line[:8], "little") in wanted
        ]
        self.close()
        self._make(4 * len(wanted))
        self._map(4 * len(wanted))
        for line in kept:
            self.counters.restore(line)

    def close(self) -> None:
        """Let go of the mapping."""
        self.counters.close()
        self._lines.release()
        self._mapped.close()

    def _line(self, at: int) -> bytes:
        return bytes(self._lines[at * LINE_BYTES : (at + 1) * LINE_BYTES])

    def _map(self, lines: int) -> None:
        try:
            if not self._is_good():
                self._make(lines)
            with self._file.open("r+b") as opened:
                self._mapped = mmap.mmap(opened.fileno(), 0)
        except OSError as error:
            raise DirectoryUnusable(f"{self._file}: cannot be made ({error.strerror})") from error
        self._lines = memoryview(self._mapped)[_HEADER.size :]
        self.counters = Counters(self._lines)

    def _is_good(self) -> bool:
        """Of this boot, and whole: a power cut may have left anything."""
        try:
            with self._file.open("rb") as opened:
                header = opened.read(_HEADER.size)
                lines, rest = divmod(os.fstat(opened.fileno()).st_size - _HEADER.size, LINE_BYTES)
        except OSError:
            return False
        sound = len(header) == _HEADER.size and not rest and lines >= MIN_LINES and lines & (lines - 1) == 0
        return bool(self._boot) and sound and header == _HEADER.pack(_MAGIC, _FORMAT, self._boot)

    def _make(self, lines: int) -> None:
        size = max(MIN_LINES, 1 << (lines - 1).bit_length() if lines else 0)
        made = self._file.with_name(f"{self._file.name}.new")
        self._file.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(made, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
        with os.fdopen(descriptor, "wb") as out:
            out.write(_HEADER.pack(_MAGIC, _FORMAT, self._boot))
            out.truncate(_HEADER.size + size * LINE_BYTES)
        made.replace(self._file)


def counter_of_term(image: Image, ref: int) -> int:
    """Return the key of a term's counters."""
    return int(image.term(ref)["counter"])
