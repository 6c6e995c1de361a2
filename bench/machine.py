"""The machine: what it is, and which core does what: the first for servers, the second for load and in-process rounds.

What must not go in here: what is measured.
"""

from __future__ import annotations

import contextlib
import os
import platform
from collections.abc import Iterable, Iterator
from importlib import metadata
from pathlib import Path
from typing import Any

PACKAGES = ("shared-data-broker", "grpcio", "protobuf", "uvloop", "lmdb", "msgspec")
_TICKS_PER_S = os.sysconf("SC_CLK_TCK")


def _usable_cores() -> list[int]:
    """Cores that this process was given at its start; empty where the system does not let us choose."""
    return sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []


CORES = _usable_cores()
PINNED = len(CORES) > 1
SERVER_CORE, LOAD_CORE = CORES[:2] if PINNED else (-1, -1)


def pin_load() -> None:
    """Put this process, and the load generators that it will start, on the core of the load."""
    if PINNED:
        os.sched_setaffinity(0, {LOAD_CORE})


@contextlib.contextmanager
def _on(cores: Iterable[int]) -> Iterator[None]:
    if not PINNED:
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, cores)
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def on_server_core() -> contextlib.AbstractContextManager[None]:
    """Within the context a process that is started starts on the core of the servers: it inherits ours."""
    return _on({SERVER_CORE})


def on_all_cores() -> contextlib.AbstractContextManager[None]:
    """Within the context this process may use what it was given at its start."""
    return _on(CORES)


def put(thread: int, core: int) -> None:
    """Put a thread of any process on a core."""
    if PINNED:
        os.sched_setaffinity(thread, {core})


def cpu_s(pid: int) -> float:
    """Return the processor time that a process has used, of the system and its own, in seconds."""
    fields = Path(f"/proc/{pid}/stat").read_text(encoding="ascii").rpartition(")")[2].split()
    utime, stime = fields[11:13]  # fields 14 and 15 of proc(5); two stand before the bracket
    return (int(utime) + int(stime)) / _TICKS_PER_S


def facts() -> dict[str, Any]:
    """Describe the machine and the versions."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "pinned": {"server": SERVER_CORE, "load": LOAD_CORE} if PINNED else None,
        "system": platform.platform(),
        "python": platform.python_version(),
        "versions": {name: metadata.version(name) for name in PACKAGES},
    }


def _cpu_model() -> str:
    with contextlib.suppress(OSError):
        for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()
