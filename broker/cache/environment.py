"""Opens the LMDB environment of the answer cache, or throws it away and makes it anew.

Nothing is ever synced to disk, so what is there after a power cut may be anything: a `generation` file beside the data names
the format and the boot in which it was written, and data of another generation is discarded unread. Within one boot a killed
process loses nothing, because the kernel still has what it wrote. Data that LMDB refuses is discarded as well: the cache can
always be asked for again. What must not go in here: anything that knows what an entry is.
"""

from __future__ import annotations

import os
from pathlib import Path

import lmdb
import structlog

from broker.cache.rows import Rows
from broker.config import Cache
from broker.errors import DirectoryUnusable

FORMAT = 1  # of the databases and their rows; raise it with every change of either
LIB_VERSION = 0  # LMDB 0.9: the two formats that py-lmdb bundles cannot read one another
MAX_DATABASES = 4
DATA, LOCK, GENERATION = "data.mdb", "lock.mdb", "generation"

# What LMDB says of data that it cannot use; other errors are about the machine and stay when the data goes.
UNREADABLE = (
    lmdb.CorruptedError,
    lmdb.InvalidError,
    lmdb.VersionMismatchError,
    lmdb.PageNotFoundError,
    lmdb.IncompatibleError,
    lmdb.BadValsizeError,  # we never write a key or row of another size
    lmdb.PanicError,
)

log = structlog.get_logger("cache")

# Two environments on the same files in one process corrupt them (LMDB's locks belong to the process).
_open: set[Path] = set()


def open_environment(directory: Path, settings: Cache, boot_id: str) -> tuple[lmdb.Environment, Rows]:
    """Open the environment in `directory`, discarding what another boot, another format or damage left there.

    Raises:
        DirectoryUnusable: the directory cannot be made or written.
        RuntimeError: this process has it open already.
    """
    directory = directory.resolve()
    if directory in _open:
        raise RuntimeError(f"{directory} is open in this process already")
    try:
        directory.mkdir(parents=True, exist_ok=True, mode=0o700)
        if not boot_id or _generation(directory) != _generation_text(boot_id):
            _renew(directory, boot_id)
        opened = _open_or_renew(directory, settings, boot_id)
    except OSError as error:
        raise DirectoryUnusable(f"{directory}: cannot be used for the cache ({error.strerror})") from error
    except lmdb.Error as error:
        raise DirectoryUnusable(f"{directory}: cannot be used for the cache ({error})") from error
    _open.add(directory)
    return opened


def close_environment(directory: Path, environment: lmdb.Environment) -> None:
    """Close it; harmless when it is closed."""
    environment.close()
    _open.discard(directory.resolve())


def condemn(directory: Path) -> None:
    """Have the data discarded by the next start: damage was found that cannot be mended under running readers."""
    (directory / GENERATION).unlink(missing_ok=True)


def _open_or_renew(directory: Path, settings: Cache, boot_id: str) -> tuple[lmdb.Environment, Rows]:
    """Open what is there. Whatever LMDB has against it, trying once more without it costs nothing that cannot be had again."""
    try:
        return _open_as_it_is(directory, settings)
    except lmdb.Error as error:
        log.warning("cache discarded", reason=str(error))
        _renew(directory, boot_id)
        return _open_as_it_is(directory, settings)


def _open_as_it_is(directory: Path, settings: Cache) -> tuple[lmdb.Environment, Rows]:
    environment = lmdb.open(
        str(directory),
        map_size=settings.map_size_mib << 20,
        max_dbs=MAX_DATABASES,
        max_readers=settings.max_readers,
        max_spare_txns=1,
        mode=0o600,
        create=False,
        sync=False,
        metasync=False,
        writemap=False,  # a stray write must not reach the data, and a full disk must be an error, not a signal
        map_async=False,
        readahead=False,
        lib_version=LIB_VERSION,
    )
    try:
        _fill_up(directory / DATA, environment, settings)
        environment.reader_check()
        return environment, Rows(environment)
    except BaseException:
        environment.close()
        raise


def _fill_up(data: Path, environment: lmdb.Environment, settings: Cache) -> None:
    """Lengthen the file to the whole map, without using disk: beyond its end, a damaged page number would be a SIGBUS.

    Within the file a page that was never written, or was cut off, reads as zeros, and that LMDB refuses.
    """
    size = data.stat().st_size
    map_bytes = settings.map_size_mib << 20
    if (environment.info()["last_pgno"] + 1) * environment.stat()["psize"] > max(size, map_bytes):
        raise lmdb.CorruptedError("the last page is beyond the map")
    if size < map_bytes:
        os.truncate(data, map_bytes)


def _renew(directory: Path, boot_id: str) -> None:
    """Delete the data, then say whose the directory is. In this order: a crash between leaves the old generation, not a lie."""
    for name in (DATA, LOCK):
        (directory / name).unlink(missing_ok=True)
    written = directory / f"{GENERATION}.new"
    written.write_text(_generation_text(boot_id), encoding="utf-8")
    written.replace(directory / GENERATION)


def _generation(directory: Path) -> str | None:
    try:
        return (directory / GENERATION).read_text(encoding="utf-8")
    except (FileNotFoundError, UnicodeDecodeError):
        return None


def _generation_text(boot_id: str) -> str:
    return f"format {FORMAT}\nboot {boot_id}\n"
