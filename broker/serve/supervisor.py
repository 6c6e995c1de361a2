"""The supervisor: starts core and fronts by exec, restarts what dies, passes SIGTERM on, holds data directory and sockets.

No gRPC, no LMDB, no threads, no event loop: there is little here that could fail.

    core     started → serving → ended → (back-off) → the next one, until told to stop
    spare    none → standing by → promoted, when the core has ended
                  ↑          └──→ dead → (a back-off of its own) → none

A *spare* is a core that has done its imports and waits, so that a killed core is replaced in a fraction of a second instead of
a Python start-up later. The core never waits for a spare. A core that ends with the exit code of a `StartupError` before any
served is not replaced: its one line has been printed, and the supervisor ends with the same code. Told to stop, it gives the
core the time that a graceful stop takes and then kills it; told again, at once. The fronts (fronts.py) are started once a core
serves. SIGHUP replaces them one by one.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
import os
import selectors
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import structlog

from broker.config import Config
from broker.errors import AlreadyRunning, DirectoryUnusable
from broker.serve.fronts import Fronts
from broker.serve.worker import Backoff, Worker, spawn

log = structlog.get_logger("supervisor")

GO = b"go\n"  # what a spare waits for on its standard input, followed by the number of restarts
# LMDB trusts its own pages. Should damaged ones have killed the core, the next one must not read them: it discards a cache
# whose generation file is gone.
_MEMORY_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
_STOP_MARGIN_S = 2.0  # for closing what is open, beyond what the settings grant the calls
_SAME_STOP_S = 0.2  # some senders, such as timeout(1), signal a process and its group; that is one wish


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
    os.ftruncate(descriptor, 0)
    os.write(descriptor, b"%d\n" % os.getpid())
    try:
        yield descriptor
    finally:
        os.close(descriptor)


class _Supervisor:
    def __init__(self, config: Config, arguments: list[str], lock: int) -> None:
        self._lock = lock
        self._settings = config.supervisor
        self._patience_s = (config.grpc.drain_ms + 2 * config.grpc.grace_ms) / 1000 + _STOP_MARGIN_S
        self._command = [sys.executable, "-m", "broker.serve.core", *arguments]
        self._generation = config.path("{data_dir}") / "cache" / "generation"
        self._selector = selectors.DefaultSelector()
        self._fronts = Fronts(config, arguments, self._selector, (lock,))
        self._wakeup = _signal_pipe(self._selector, (signal.SIGHUP,) if self._fronts.wanted else ())
        self._cores = Backoff(config.supervisor)
        self._spares = Backoff(config.supervisor)
        self._restarts = 0
        self._ever_served = False
        self._cannot_start = False
        self._spare: Worker | None = None
        self._spare_at = 0.0  # when the next spare may be started
        self._told_at = math.inf  # when we were told to stop
        self._kill_at = math.inf

    @property
    def _stopping(self) -> bool:
        return self._told_at < math.inf

    def run(self) -> int:
        code = 0
        while (core := self._next_core()) is not None:
            code = self._watch(core)
            core.close(self._selector)
            if code > 0 and not self._ever_served:
                break
            if not self._stopping:
                self._count(core, code)
        self._end_spare()
        self._end_fronts()
        return 0 if self._stopping else code

    def _next_core(self) -> Worker | None:
        """Promote the spare or start a core; None when told to stop before there is one."""
        while not self._stopping:
            spare, self._spare = self._spare, None
            if spare is not None and spare.ended:
                spare.close(self._selector)
                spare = None
            core = spare or self._start()
            if core is not None:
                return self._go(core)
            self._pause(self._cores.pause_ms(0) / 1000)
        return None

    def _start(self) -> Worker | None:
        """Start a worker that stands by; None, told once, when the system has no process or descriptor left for it."""
        worker: Worker | None = None
        try:
            worker = spawn(self._command, (self._lock,))
        except OSError as error:
            if not self._cannot_start:
                log.error("no process can be started; trying again", error=error.strerror)
        self._cannot_start = worker is None
        return worker

    def _go(self, worker: Worker) -> Worker:
        assert worker.process.stdin is not None  # noqa: S101 - Popen was given a pipe
        with contextlib.suppress(BrokenPipeError):  # it died as a spare: waiting for it tells why
            worker.process.stdin.write(GO + b"%d\n" % self._restarts)
            worker.process.stdin.flush()
        worker.since = time.monotonic()
        self._selector.register(worker.ready, selectors.EVENT_READ, (self._on_ready, worker))
        return worker

    def _watch(self, core: Worker) -> int:
        """Wait for the end of a core, a spare standing by as long as it serves; returns its exit code."""
        while not core.ended:
            self._wait(core, min(self._tend_spare(core), self._tend_fronts(), self._kill_at))
            if time.monotonic() >= self._kill_at:
                self._kill(core, "the core has not stopped in time")
        return core.process.wait()

    def _tend_spare(self, core: Worker) -> float:
        """Start a spare where one is wanted; returns when to look again."""
        if self._spare is not None and self._spare.ended:
            self._lose_spare(self._spare)
        wanted = self._settings.spare_core and core.serving and not self._stopping and self._spare is None
        if wanted and time.monotonic() >= self._spare_at:
            self._spare = self._start()
            if self._spare is None:
                self._delay_spare(0)
        return self._spare_at if wanted and self._spare is None else math.inf

    def _tend_fronts(self) -> float:
        """Fronts are of use from the first core on, and then whether there is one or not."""
        return self._fronts.tend() if self._ever_served else math.inf

    def _lose_spare(self, spare: Worker) -> None:
        pause_ms = self._delay_spare(spare.lived_s)
        log.warning("spare died", exit_code=spare.process.returncode, pause_ms=pause_ms)
        spare.close(self._selector)
        self._spare = None

    def _delay_spare(self, lived_s: float) -> int:
        pause_ms = self._spares.pause_ms(lived_s)
        self._spare_at = time.monotonic() + pause_ms / 1000
        return pause_ms

    def _count(self, core: Worker, code: int) -> None:
        """Count the death of a core and pause as long as the back-off says."""
        self._restarts += 1
        pause_ms = self._cores.pause_ms(core.lived_s)
        log.error("core died", exit_code=code, restarts=self._restarts, pause_ms=pause_ms)
        if -code in _MEMORY_FAULTS:
            with contextlib.suppress(OSError):  # gone already; or the directory has become unusable, which the next core tells
                self._generation.unlink()
        self._pause(pause_ms / 1000)

    def _pause(self, seconds: float) -> None:
        until = time.monotonic() + seconds
        while not self._stopping and time.monotonic() < until:
            self._wait(None, min(until, self._tend_fronts()))

    def _wait(self, core: Worker | None, until: float) -> None:
        """Wait for signals, for a core that says it serves, and no longer than `until`."""
        timeout = None if until == math.inf else max(0.0, until - time.monotonic())
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                self._on_signals(core)
            else:
                on_ready, worker = key.data
                on_ready(worker)

    def _on_ready(self, worker: Worker) -> None:
        self._selector.unregister(worker.ready)
        worker.serving = bool(os.read(worker.ready, 1))  # an end of file instead: it died before
        if worker.serving:
            self._ever_served = True
            log.info("core serves", pid=worker.process.pid, restarts=self._restarts)

    def _on_signals(self, core: Worker | None) -> None:
        for number in os.read(self._wakeup, 64):
            if number in (signal.SIGTERM, signal.SIGINT):
                self._on_stop(core)
            elif number == signal.SIGHUP:
                self._fronts.roll()

    def _on_stop(self, core: Worker | None) -> None:
        now = time.monotonic()
        if not self._stopping:
            self._told_at, self._kill_at = now, now + self._patience_s
            self._fronts.stop()
            if core is not None:
                core.process.send_signal(signal.SIGTERM)
        elif now - self._told_at >= _SAME_STOP_S:
            self._fronts.kill()
            if core is not None:
                self._kill(core, "told to stop again")

    def _kill(self, core: Worker, why: str) -> None:
        log.error("core killed", why=why, pid=core.process.pid)
        self._kill_at = math.inf
        core.process.kill()

    def _end_spare(self) -> None:
        """A spare holds nothing that it would have to put down."""
        if self._spare is not None:
            self._spare.process.kill()
            self._spare.process.wait()
            self._spare.close(self._selector)

    def _end_fronts(self) -> None:
        """Wait for the fronts, which have been told to stop, or are of no use without a core that can start."""
        self._fronts.stop()
        look_again_at = self._fronts.tend()
        while self._fronts.running:
            self._wait(None, look_again_at)
            look_again_at = self._fronts.tend()


def _signal_pipe(selector: selectors.BaseSelector, more: Sequence[signal.Signals]) -> int:
    """Make signals readable from a pipe; returns its read end."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD, *more):
        signal.signal(number, lambda *_: None)
    selector.register(read_end, selectors.EVENT_READ, None)
    return read_end
