"""Which boot of the machine this is. What outlives a process but not a boot is marked with it.

What must not go in here: anything else about the machine.
"""

from __future__ import annotations

from pathlib import Path


def read_boot_id() -> str:
    """Return what the kernel calls the current boot; "" where it does not say, which is no boot to rely on."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
