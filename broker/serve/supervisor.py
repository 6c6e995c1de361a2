"""The supervisor: starts the core by exec, restarts it when it dies, passes SIGTERM on, holds the data directory.

No gRPC, no LMDB, no threads, no event loop: there is little here that could fail.

    core     started → serving → ended → (back-off) → the next one, until told to stop
    spare    none → standing by → promoted, when the core has ended
                  ↑          └──→ dead → (a back-off of its own) → none

A *spare* is a core that has done its imports and waits, so that a killed core is replaced in a fraction of a second instead of
a Python start-up later. The core never waits for a spare. A core that ends with the exit code of a `StartupError` before any
served is not replaced: its one line has been printed, and the supervisor ends with the same code. Told to stop, it gives the
core the time that a graceful stop takes and then kills it; told again, at once.
"""

from __future__ import annotations

import contextlib
import fcntl
import math
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
from broker.config import Supervisor as Settings
from broker.errors import AlreadyRunning, DirectoryUnusable

log = structlog.get_logger("supervisor")

GO = b"go\n"  # what a spare waits for on its standard input, followed by the number of restarts
# LMDB trusts its own pages. Should damaged ones have killed the core, the next one must not read them: it discards a cache
# whose generation file is gone.
_MEMORY_FAULTS = (signal.SIGSEGV, signal.SIGBUS, signal.SIGABRT)
READY_FD = "BROKER_READY_FD"  # environment variable: where a core says that it serves
# gRPC logs what we report ourselves, such as a taken port, in lines of its own; an operator who wants them sets this.
_QUIET = {"GRPC_VERBOSITY": "NONE"}
_STOP_MARGIN_S = 2.0  # for closing what is open, beyond what the settings grant the calls
_SAME_STOP_S = 0.2  # some senders, such as timeout(1), signal a process and its group; that is one wish


@dataclass
class Worker:
    """One core process: a spare until it is told to go."""

    process: subprocess.Popen[bytes]
    ready: int  # read end of the pipe on which it says that it serves
    since: float  # when it became what it is, spare or core
    serving: bool = False

    @property
    def ended(self) -> bool:
        """Whether the process is gone."""
        return self.process.poll() is not None

    @property
    def lived_s(self) -> float:
        """How long it has been what it is."""
        return time.monotonic() - self.since


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
        self._patience_s = (config.grpc.drain_ms + 2 * config.grpc.grace_ms) / 1000 + _STOP_MARGIN_S
        self._command = [sys.executable, "-m", "broker.serve.core", *arguments]
        self._generation = config.path("{data_dir}") / "cache" / "generation"
        self._selector = selectors.DefaultSelector()
        self._wakeup = _signal_pipe(self._selector)
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
            self._close(core)
            if code > 0 and not self._ever_served:
                break
            if not self._stopping:
                self._count(core, code)
        self._end_spare()
        return 0 if self._stopping else code

    def _next_core(self) -> Worker | None:
        """Promote the spare or start a core; None when told to stop before there is one."""
        while not self._stopping:
            spare, self._spare = self._spare, None
            if spare is not None and spare.ended:
                self._close(spare)
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
            worker = self._spawn()
        except OSError as error:
            if not self._cannot_start:
                log.error("no process can be started; trying again", error=error.strerror)
        self._cannot_start = worker is None
        return worker

    def _spawn(self) -> Worker:
        read_end, write_end = os.pipe()
        try:
            process = subprocess.Popen(  # noqa: S603 - our own interpreter and module
                self._command,
                stdin=subprocess.PIPE,
                pass_fds=(write_end, self._lock),
                env={**_QUIET, **os.environ, READY_FD: str(write_end)},
                start_new_session=True,  # Ctrl-C in a terminal is for us, who pass it on
            )
        except OSError:
            os.close(read_end)
            raise
        finally:
            os.close(write_end)
        return Worker(process, read_end, time.monotonic())

    def _go(self, worker: Worker) -> Worker:
        assert worker.process.stdin is not None  # noqa: S101 - Popen was given a pipe
        with contextlib.suppress(BrokenPipeError):  # it died as a spare: waiting for it tells why
            worker.process.stdin.write(GO + b"%d\n" % self._restarts)
            worker.process.stdin.flush()
        worker.since = time.monotonic()
        self._selector.register(worker.ready, selectors.EVENT_READ, worker)
        return worker

    def _watch(self, core: Worker) -> int:
        """Wait for the end of a core, a spare standing by as long as it serves; returns its exit code."""
        while not core.ended:
            self._wait(core, min(self._tend_spare(core), self._kill_at))
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

    def _lose_spare(self, spare: Worker) -> None:
        pause_ms = self._delay_spare(spare.lived_s)
        log.warning("spare died", exit_code=spare.process.returncode, pause_ms=pause_ms)
        self._close(spare)
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
            self._wait(None, until)

    def _wait(self, core: Worker | None, until: float) -> None:
        """Wait for signals, for a core that says it serves, and no longer than `until`."""
        timeout = None if until == math.inf else max(0.0, until - time.monotonic())
        for key, _ in self._selector.select(timeout):
            if key.data is None:
                self._on_signals(core)
            else:
                self._on_ready(key.data)

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

    def _on_stop(self, core: Worker | None) -> None:
        now = time.monotonic()
        if not self._stopping:
            self._told_at, self._kill_at = now, now + self._patience_s
            if core is not None:
                core.process.send_signal(signal.SIGTERM)
        elif core is not None and now - self._told_at >= _SAME_STOP_S:
            self._kill(core, "told to stop again")

    def _kill(self, core: Worker, why: str) -> None:
        log.error("core killed", why=why, pid=core.process.pid)
        self._kill_at = math.inf
        core.process.kill()

    def _close(self, worker: Worker) -> None:
        with contextlib.suppress(KeyError):
            self._selector.unregister(worker.ready)
        os.close(worker.ready)
        if worker.process.stdin is not None:
            with contextlib.suppress(BrokenPipeError):
                worker.process.stdin.close()

    def _end_spare(self) -> None:
        """A spare holds nothing that it would have to put down."""
        if self._spare is not None:
            self._spare.process.kill()
            self._spare.process.wait()
            self._close(self._spare)


def _signal_pipe(selector: selectors.BaseSelector) -> int:
    """Make signals readable from a pipe; returns its read end."""
    read_end, write_end = os.pipe()
    os.set_blocking(write_end, False)
    signal.set_wakeup_fd(write_end, warn_on_full_buffer=False)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGCHLD):
        signal.signal(number, lambda *_: None)
    selector.register(read_end, selectors.EVENT_READ, None)
    return read_end
