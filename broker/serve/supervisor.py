"""The supervisor: starts the core by exec, restarts it when it dies, passes SIGTERM on, holds the data directory.

No gRPC, no LMDB, no threads, no event loop: there is little here that could fail. A *spare* core that has done its imports
waits beside the serving one, so that a killed core is replaced in a fraction of a second instead of a Python start-up later.
A core that ends with the exit code of a `StartupError` before it ever served is not restarted: its one line has been printed,
and the supervisor ends with the same code.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import selectors
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import structlog

from broker.config import Config
from broker.errors import AlreadyRunning, DirectoryUnusable

log = structlog.get_logger("supervisor")

GO = b"go\n"  # what a spare waits for on its standard input, followed by the number of restarts
# LMDB trusts its own pages. Should damaged ones have killed the core, the next one must not read them: it discards a cache
# whose generation file is gone.
_MEMORY_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
READY_FD = "BROKER_READY_FD"  # environment variable: where a core says that it serves


@dataclass
class Worker:
    """One core process: a spare until it is told to go."""

    process: subprocess.Popen[bytes]
    ready: int  # read end of the pipe on which it says that it serves
    serving: bool = False


def run(config: Config, arguments: list[str]) -> int:
    """Supervise until SIGTERM or SIGINT; returns the exit code. `arguments` are those of the core (`--config FILE`).

    Raises:
        DirectoryUnusable: the data directory cannot be made or written.
        AlreadyRunning: another supervisor holds it.
    """
    with _hold(config.path("{data_dir}")) as lock:
        return _Supervisor(config, arguments, lock).run()


@contextlib.contextmanager
def _hold(data_dir: Path) -> Iterator[int]:
    """Hold the data directory by a lock that ends with the last process that has it open, however that ends.

    The workers inherit it: should the supervisor be killed, nobody starts beside a core that is still there.
    """
    try:
        data_dir.mkdir(parents=True, exist_ok=True, mode=0o750)
        descriptor = os.open(data_dir / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    except OSError as error:
        raise DirectoryUnusable(f"data_dir: {data_dir} cannot be written ({error.strerror})") from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError as error:
        raise AlreadyRunning(f"data_dir: another broker is running on {data_dir}") from error
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Supervisor:
    def __init__(self, config: Config, arguments: list[str], lock: int) -> None:
        self._lock = lock
        self._settings = config.supervisor
        self._command = [sys.executable, "-m", "broker.serve.core", *arguments]
        self._generation = config.path("{data_dir}") / "cache" / "generation"
        self._selector = selectors.DefaultSelector()
        self._wakeup = _signal_pipe(self._selector)
        self._restarts = 0
        self._deaths = 0  # in a row, for the back-off
        self._ever_served = False
        self._stopping = False

    def run(self) -> int:
        core: Worker | None = self._go(self._spawn())
        code = 0
        while core is not None:
            began = time.monotonic()
            spare = self._watch(core)
            code = core.process.wait()
            self._close(core)
            if self._stopping or (code > 0 and not self._ever_served):
                self._end(spare)
                break
            core = self._replace(code, time.monotonic() - began, spare)
        return 0 if self._stopping else code

    def _spawn(self) -> Worker:
        read_end, write_end = os.pipe()
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
            self._command,
            stdin=subprocess.PIPE,
            pass_fds=(write_end, self._lock),
            env={**os.environ, READY_FD: str(write_end)},
        )
        os.close(write_end)
        return Worker(process, read_end)

    def _go(self, worker: Worker) -> Worker:
        assert worker.process.stdin is not None  # noqa: S101 - Popen was given a pipe
        with contextlib.suppress(BrokenPipeError):  # it died as a spare: waiting for it tells why
            worker.process.stdin.write(GO + b"%d\n" % self._restarts)
            worker.process.stdin.flush()
        self._selector.register(worker.ready, selectors.EVENT_READ, worker)
        return worker

    def _watch(self, core: Worker) -> Worker | None:
        """Return the spare, if there is one by now, when the core has ended. A spare that dies is replaced."""
        spare: Worker | None = None
        while core.process.poll() is None:
            for key, _ in self._selector.select():
                if key.data is None:
                    self._on_signals(core)
                else:
                    self._on_ready(key.data)
            if core.serving and not self._stopping and (spare is None or spare.process.poll() is not None):
                spare = self._spawn()
        return spare

    def _on_ready(self, worker: Worker) -> None:
        self._selector.unregister(worker.ready)
        worker.serving = bool(os.read(worker.ready, 1))  # an end of file instead: it died before
        if worker.serving:
            self._ever_served = True
            log.info("core serves", pid=worker.process.pid, restarts=self._restarts)

    def _on_signals(self, core: Worker | None) -> None:
        for number in os.read(self._wakeup, 64):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._stopping = True
                if core is not None:
                    core.process.send_signal(signal.SIGTERM)

    def _replace(self, code: int, lived_s: float, spare: Worker | None) -> Worker | None:
        """Return the next core after the back-off, or None when told to stop meanwhile."""
        self._restarts += 1
        self._deaths = 1 if lived_s * 1000 >= self._settings.healthy_after_ms else self._deaths + 1
        pause_ms = 0 if self._deaths == 1 else self._backoff_ms()
        log.error("core died", exit_code=code, restarts=self._restarts, pause_ms=pause_ms)
        if -code in _MEMORY_FAULTS:
            self._generation.unlink(missing_ok=True)
        self._pause(pause_ms / 1000)
        if self._stopping:
            self._end(spare)
            return None
        usable = spare is not None and spare.process.poll() is None
        return self._go(spare if usable and spare is not None else self._spawn())

    def _backoff_ms(self) -> int:
        return min(self._settings.backoff_first_ms << min(self._deaths - 2, 16), self._settings.backoff_max_ms)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and (left := until - time.monotonic()) > 0:
            for key, _ in self._selector.select(left):
                if key.data is None:
                    self._on_signals(None)

    def _close(self, worker: Worker) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(worker.ready)
        os.close(worker.ready)
        if worker.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                worker.process.stdin.close()

    def _end(self, spare: Worker | None) -> None:
        """A spare ends by itself when its standard input is closed."""
        if spare is not None:
            self._close(spare)
            spare.process.wait()


def _signal_pipe(selector: selectors.BaseSelector) -> int:
    """Make signals readable from a pipe; returns its read end."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    selector.register(read_end, selectors.EVENT_READ, None)
    return read_end
