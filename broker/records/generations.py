"""Where a record base lives on disk: generations, each an LMDB environment of its own, of which one is current.

    records/population/current      names the generation that is read
    records/population/7/data.mdb   written to its end and synced before `current` names it
    records/population/writing      locked by the one process that writes

A reader opens what `current` names, and the name is replaced in one step (rename(2)), so nobody ever sees half a base, and what
a killed loader leaves is a generation that nobody reads; the next one removes it. What must not go in here: what a record is.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import lmdb

from broker.errors import BaseBusy, BaseUnusable, DirectoryUnusable

CURRENT, WRITING, DATA = "current", "writing", "data.mdb"
_LIB_VERSION = 0  # LMDB 0.9: the two formats that py-lmdb bundles cannot read one another
_MAX_READERS = 1024


def current(directory: Path) -> str:
    """Return the name of the generation that is read.

    Raises:
        BaseUnusable: nothing was ever loaded.
    """
    try:
        return (directory / CURRENT).read_text(encoding="ascii").strip()
    except FileNotFoundError:
        raise BaseUnusable(directory.name, "nothing has been loaded; run `broker records load`") from None
    except (OSError, UnicodeDecodeError) as error:
        raise BaseUnusable(directory.name, "what names its current generation cannot be read") from error


def current_or_none(directory: Path) -> str:
    """Return the name of the generation that is read, or nothing."""
    try:
        return current(directory)
    except BaseUnusable:
        return ""


@contextlib.contextmanager
def writing(directory: Path) -> Iterator[None]:
    """Be the one who writes, within the context.

    Raises:
        BaseBusy: another process is writing.
        DirectoryUnusable: the directory cannot be made or written.
    """
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        descriptor = os.open(directory / WRITING, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise DirectoryUnusable(f"{directory}: cannot be used for a record base ({error.strerror})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise BaseBusy(f"base `{directory.name}` is being written by another process; try again when that has ended") from None
    finally:
        os.close(descriptor)


def begin(directory: Path) -> Path:
    """Make the next generation, empty, and remove what loaders that were killed have left. For who is `writing`."""
    read = current_or_none(directory)
    there = {path.name for path in directory.iterdir() if path.name.isdecimal()}
    for left in there - {read} if read in there else ():  # else one of them may be what was read: an operator has to look
        shutil.rmtree(directory / left)
    made = directory / str(max(map(int, filter(str.isdecimal, {*there, read})), default=0) + 1)
    made.mkdir(mode=0o700)
    return made


def publish(made: Path) -> None:
    """Let a generation be the one that is read; it is whole and synced. The one before goes: who reads it still may."""
    directory, before = made.parent, current_or_none(made.parent)
    _sync(made)
    with (directory / f"{CURRENT}.new").open("w", encoding="ascii") as file:
        file.write(f"{made.name}\n")
        file.flush()
        os.fsync(file.fileno())
    (directory / f"{CURRENT}.new").replace(directory / CURRENT)
    _sync(directory)
    if before not in ("", made.name):
        shutil.rmtree(directory / before, ignore_errors=True)


def open_generation(generation: Path, map_bytes: int, *, readonly: bool, is_new: bool = False) -> lmdb.Environment:
    """Open the environment of a generation.

    Raises:
        BaseUnusable: it is missing or not one that LMDB can read.
    """
    try:
        environment = lmdb.open(
            str(generation),
            map_size=map_bytes,
            max_readers=_MAX_READERS,
            max_spare_txns=4,
            mode=0o600,
            create=is_new,
            readonly=readonly,
            sync=not is_new,  # a new one is synced when it is whole
            metasync=not is_new,
            writemap=False,  # a stray write must not reach the data, and a full disk must be an error, not a signal
            readahead=False,
            lib_version=_LIB_VERSION,
        )
    except (lmdb.Error, OSError) as error:
        raise BaseUnusable(generation.parent.name, f"generation {generation.name} cannot be opened") from error
    try:
        if _is_cut_off(generation, environment):
            raise BaseUnusable(generation.parent.name, f"generation {generation.name} is cut off; load it again")
    except OSError as error:
        environment.close()
        raise BaseUnusable(generation.parent.name, f"generation {generation.name} has gone") from error
    except BaseUnusable:
        environment.close()
        raise
    return environment


def _is_cut_off(generation: Path, environment: lmdb.Environment) -> bool:
    """Whether pages are missing at the end of the file: to read one of those would kill the process (SIGBUS)."""
    needed = (environment.info()["last_pgno"] + 1) * environment.stat()["psize"]
    return bool((generation / DATA).stat().st_size < needed)


def _sync(directory: Path) -> None:
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
