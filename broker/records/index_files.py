"""The files of a query index, beside the data of their generation, each with the number of its build in its name.

    records/population/7/search-0123456789abcdef.index    written once
    records/population/7/search-0123456789abcdef.delta    what has changed since

Which build is in force is a record of the generation's own data, so that it changes together with what it is about: files that
no record names are read by nobody, and the next build removes them. Files are as long on the disk as they say they are before
they are mapped: to write where there is no room would be a signal (SIGBUS), not an error.
What must not go in here: what is in the files.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any

_PREFIX = "search-"


def index_file(generation: Path, build: int) -> Path:
    """Return where the index of a build is."""
    return generation / f"{_PREFIX}{build:016x}.index"


def delta_file(generation: Path, build: int) -> Path:
    """Return where its delta is."""
    return generation / f"{_PREFIX}{build:016x}.delta"


def remove_others(generation: Path, build: int) -> None:
    """Remove the files of all builds but one. For who is `writing`."""
    for path in generation.glob(f"{_PREFIX}*"):
        if path not in (index_file(generation, build), delta_file(generation, build)):
            path.unlink(missing_ok=True)


def mapped(path: Path, *, writable: bool = False) -> mmap.mmap:
    """Map a file as long as it is. Raises OSError, or ValueError if it is empty."""
    with path.open("r+b" if writable else "rb") as file:
        memory = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_WRITE if writable else mmap.ACCESS_READ)
    if not writable:
        with contextlib.suppress(OSError):  # where there are none, what is looked up all over takes a sixth longer
            memory.madvise(mmap.MADV_HUGEPAGE)
    return memory


@contextlib.contextmanager
def making(path: Path) -> Iterator[IO[bytes]]:
    """Write a new file within the context; durable at its end. One that fails is removed."""
    with path.open("x+b", buffering=0) as file:
        path.chmod(0o600)
        try:
            yield file
            os.fsync(file.fileno())
        except BaseException:
            path.unlink(missing_ok=True)
            raise


def make_empty(path: Path, size: int) -> mmap.mmap:
    """Make a file of zeros that has its place on the disk, and map it. Raises OSError."""
    with making(path) as file:
        os.posix_fallocate(file.fileno(), 0, size)
        return mmap.mmap(file.fileno(), size)


def sync(path: Path) -> None:
    """Have what was written to a file, mapped or not, reach the disk. Raises OSError."""
    descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
    try:
        os.fdatasync(descriptor)
    finally:
        os.close(descriptor)


class Scratch:
    """Memory in a file without a name: the kernel may write it out, so it may be larger than what a process should take."""

    def __init__(self, directory: Path, size: int) -> None:
        self._file: IO[Any] = tempfile.TemporaryFile(dir=directory)  # noqa: SIM115 - closed in `close`
        self._size = max(size, 1)
        os.ftruncate(self._file.fileno(), self._size)
        self._placed = 0
        self.memory = mmap.mmap(self._file.fileno(), self._size)

    def reserve(self, used: int) -> None:
        """See to it that so much of it, from its beginning, has its place on the disk. Raises OSError."""
        if used > self._placed:
            step = min(max(used, self._placed + (64 << 20)), self._size)
            os.posix_fallocate(self._file.fileno(), self._placed, step - self._placed)
            self._placed = step

    def close(self) -> None:
        """Give it back."""
        self.memory.close()
        self._file.close()
