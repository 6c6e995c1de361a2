"""One worker process of the supervisor: how it is started, how it says that it serves, and how long to wait for its successor.

What must not go in here: which workers there are (supervisor.py, fronts.py).
"""

from __future__ import annotations

import contextlib
import os
import selectors
import subprocess
import time
from collections.abc import Sequence
from dataclasses import dataclass

from broker.config import Supervisor as Settings
from broker.serve.core_address import READY_FD

# gRPC logs what we report ourselves, such as a taken port, in lines of its own; an operator who wants them sets this.
_QUIET = {"GRPC_VERBOSITY": "NONE"}


@dataclass(eq=False)
class Worker:
    """One process."""

    process: subprocess.Popen[bytes]
    ready: int  # read end of the pipe on which it says that it serves
    since: float  # when it became what it is, spare or core
    serving: bool = False
    tally: int = -1  # the number of the file that it counts in, if it is a front

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    @property
    def lived_s(self) -> float:
        """How long it has been what it is."""
        return time.monotonic() - self.since

    def close(self, selector: selectors.BaseSelector) -> None:
        """Let go of its pipes."""
        with contextlib.suppress(KeyError):
            selector.unregister(self.ready)
        os.close(self.ready)
        if self.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                self.process.stdin.close()


def spawn(command: Sequence[str], inherited: Sequence[int]) -> Worker:
    """Start a process that keeps these descriptors, and notices by its standard input when we have gone.

    Raises:
        OSError: the system has no process or descriptor left for it.
    """
    read_end, write_end = os.pipe()
    try:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            command,
            stdin=subprocess.PIPE,
            pass_fds=(write_end, *inherited),
            env={**_QUIET, **os.environ, READY_FD: str(write_end)},
            start_new_session=True,  # Ctrl-C in a terminal is for us, who pass it on
        )
    except OSError:
        os.close(read_end)
        raise
    finally:
        os.close(write_end)
    return Worker(process, read_end, time.monotonic())


class Backoff:
    """How long to wait for a successor: not at all after one death, ever longer after more in a row."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._deaths = 0  # in a row

    def pause_ms(self, lived_s: float) -> int:
        """Count a death."""
        self._deaths = 1 if lived_s * 1000 >= self._settings.healthy_after_ms else self._deaths + 1
        if self._deaths == 1:
            return 0
        return min(self._settings.backoff_first_ms << min(self._deaths - 2, 16), self._settings.backoff_max_ms)
