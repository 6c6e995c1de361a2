"""A small file system of its own for one folder of a broker, in a mount namespace that outlives the broker.

What must not go in here: disks that fail otherwise (disk_faults.py).
"""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path

from tests.support.running import RunningBroker

_HELD = 'mount -t tmpfs -o size="$2" tmpfs "$1" && echo mounted && exec sleep 100000'


class NoNamespace(Exception):
    """No file system can be mounted here, not even in a namespace of one's own."""


class SmallDisk:
    """A tmpfs at a folder, seen by those who are started by `command` and, from outside, at `path`."""

    def __init__(self, at: Path, size: str) -> None:
        """Mount it. Raises NoNamespace."""
        at.mkdir(parents=True, exist_ok=True)
        command = ["unshare", "-rm", "sh", "-c", _HELD, "sh", str(at), size]
        try:
            self._holder = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        except FileNotFoundError as error:
            raise NoNamespace from error
        assert self._holder.stdout is not None
        if self._holder.stdout.readline() != b"mounted\n":
            self.close()
            raise NoNamespace
        self.path = Path(f"/proc/{self._holder.pid}/root{at}")
        self._ballast = self.path / "ballast"

    def command(self, *command: str) -> list[str]:
        return ["nsenter", "-t", str(self._holder.pid), "-U", "-m", "--preserve-credentials", *command]

    def fill(self) -> None:
        """Take all the room that is left."""
        with self._ballast.open("ab", buffering=0) as file, contextlib.suppress(OSError):
            for piece in (1 << 20, 1 << 12):
                with contextlib.suppress(OSError):
                    while file.write(bytes(piece)):
                        pass

    def empty(self) -> None:
        self._ballast.unlink()

    def close(self) -> None:
        self._holder.kill()
        self._holder.wait()
        assert self._holder.stdout is not None
        self._holder.stdout.close()


class OnSmallDisk(RunningBroker):
    """A broker whose audit log is on one."""

    def __init__(self, directory: Path, size: str, **settings: str) -> None:
        super().__init__(directory, **settings)
        self.disk = SmallDisk(self.config.path(self.config.audit.directory), size)

    def command(self, *arguments: str) -> list[str]:
        return self.disk.command(*super().command(*arguments))
