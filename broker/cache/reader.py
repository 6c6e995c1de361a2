"""Opens the answer cache to read it beside the process that writes it. Nothing is ever changed here, damage is not judged.

What must not go in here: writing (`store`), discarding (`environment`).
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import lmdb

from broker.cache.environment import LIB_VERSION, MAX_DATABASES
from broker.config import Cache
from broker.errors import DirectoryUnusable


class CacheReader:
    """The entries of a cache: an LMDB environment, and the database in it."""

    def __init__(self, data_dir: Path, settings: Cache) -> None:
        """Open it.

        Raises:
            DirectoryUnusable: there is none yet, or it cannot be read.
        """
        directory = data_dir / "cache"
        try:
            self.environment: Any = lmdb.open(
                str(directory),
                map_size=settings.map_size_mib << 20,
                max_dbs=MAX_DATABASES,
                max_readers=settings.max_readers,
                max_spare_txns=1,
                readonly=True,
                create=False,
                readahead=False,
                lib_version=LIB_VERSION,
            )
            self.entries: Any = self.environment.open_db(b"entries", create=False)
        except (lmdb.Error, OSError) as error:
            raise DirectoryUnusable(f"{directory}: cannot be read ({error})") from error

    def close(self) -> None:
        """Let go of it."""
        self.environment.close()
