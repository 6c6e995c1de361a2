"""How full the disk is that holds the log: as metrics, and told in the operators' log at 80, 90 and 95 %.

When it is full nothing leaves any more, so there is to be time to make room. What must not go in here: making it (archive.py).
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import structlog

from broker.telemetry import metrics

LEVELS = (0.80, 0.90, 0.95)
_FELL_BY = 0.01  # below a level, before reaching it is told again: a share that wavers is told of once

log = structlog.get_logger("audit")


class DiskAlarm:
    """Watches the disk of one directory."""

    def __init__(self, directory: Path, usage: Callable[[Path], tuple[int, int, int]] = shutil.disk_usage) -> None:
        """Args: usage: bytes in all, used, and free to this process, as `shutil.disk_usage` tells them."""
        self._directory, self._usage = directory, usage
        self._reached: set[float] = set()

    def look(self) -> None:
        """Look once. Raises OSError."""
        _, used, free = self._usage(self._directory)
        share = used / max(1, used + free)  # as `df` counts: what is kept for root is nobody's
        metrics.audit_disk_used.set(share)
        metrics.audit_disk_free.set(free)
        for level in LEVELS:
            if share >= level and level not in self._reached:
                self._reached.add(level)
                log.error("audit_disk_fills", level=level, used_ratio=round(share, 4), free_mib=free >> 20)
            elif share < level - _FELL_BY and level in self._reached:
                self._reached.discard(level)
                log.info("audit_disk_fell", level=level, used_ratio=round(share, 4), free_mib=free >> 20)
