"""The supervisor's fronts: starts them on the sockets that it holds, restarts what dies, replaces them one by one when asked.

    slot    empty → starting → serving → ended → (back-off) → starting
            when rolled: a second one starts beside it; once that serves, the first is told to stop and *leaves*

No queue of connections is ever lost: the listening sockets are the supervisor's, and all fronts accept from the same ones. What
must not go in here: the core and its spare (supervisor.py).
"""

from __future__ import annotations

import contextlib
import itertools
import math
import os
import selectors
import shutil
import signal
import socket
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass

import structlog

from broker.config import Config
from broker.serve.board import TALLIES
from broker.serve.listen import listen
from broker.serve.worker import Backoff, Worker, spawn

log = structlog.get_logger("supervisor")

_STOP_MARGIN_S = 1.0  # for a front to end, beyond what the settings grant the calls


@dataclass(eq=False)
class _Slot:
    """One place for a front."""

    number: int
    backoff: Backoff
    front: Worker | None = None
    successor: Worker | None = None
    start_at: float = 0.0


class Fronts:
    """The fronts of one broker; none when `grpc.fronts` is 0."""

    def __init__(
        self, config: Config, arguments: Sequence[str], selector: selectors.BaseSelector, inherited: Sequence[int]
    ) -> None:
        """Open the listening sockets.

        Raises:
            PortTaken: an address is in use or not allowed.
        """
        self._settings = config
        self._arguments, self._selector, self._inherited = arguments, selector, inherited
        self._sockets = _sockets(config) if config.grpc.fronts else {}
        self._slots = [_Slot(number, Backoff(config.supervisor)) for number in range(config.grpc.fronts)]
        self._leaving: dict[Worker, float] = {}  # and when to kill them
        self._patience_s = (config.grpc.drain_ms + config.grpc.grace_ms) / 1000 + _STOP_MARGIN_S
        self._stopping = False
        self._rolling: list[_Slot] = []
        shutil.rmtree(config.path("{data_dir}") / TALLIES, ignore_errors=True)  # what the last broker's fronts counted

    @property
    def wanted(self) -> bool:
        """Whether there are to be any."""
        return bool(self._slots)

    @property
    def running(self) -> bool:
        """Whether there is a front that has not ended."""
        return bool(self._leaving) or any(slot.front or slot.successor for slot in self._slots)

    def tend(self) -> float:
        """Start what is to be started and see what has ended; returns when to look again (`time.monotonic`)."""
        now = time.monotonic()
        for slot in self._slots:
            self._tend_slot(slot, now)
        for worker, kill_at in list(self._leaving.items()):
            if worker.ended:
                worker.close(self._selector)
                del self._leaving[worker]
            elif now >= kill_at:
                worker.process.kill()
                self._leaving[worker] = math.inf
        self._roll_next()
        waiting = [slot.start_at for slot in self._slots if not (slot.front or slot.successor or self._stopping)]
        return min([*waiting, *self._leaving.values()], default=math.inf)

    def roll(self) -> None:
        """Replace every front by a new one, one after the other."""
        self._rolling = [slot for slot in self._slots if slot not in self._rolling] + self._rolling

    def stop(self) -> None:
        """Tell every front to stop."""
        self._stopping = True
        self._rolling = []
        for opened in itertools.chain(*self._sockets.values()):
            opened.close()  # the fronts have theirs, until they let go of them
        for slot in self._slots:
            for worker in (slot.front, slot.successor):
                if worker is not None:
                    self._leave(worker)
            slot.front = slot.successor = None

    def kill(self) -> None:
        """End every front at once."""
        for worker in self._leaving:
            worker.process.kill()

    def _tend_slot(self, slot: _Slot, now: float) -> None:
        if slot.front is not None and slot.front.ended:
            self._on_death(slot, slot.front)
        if slot.successor is not None and slot.successor.ended:
            log.error("a new front has died; the old one stays", exit_code=slot.successor.process.returncode)
            slot.successor.close(self._selector)
            slot.successor = None
        if slot.successor is not None and slot.successor.serving:
            if slot.front is not None:
                self._leave(slot.front)
            slot.front, slot.successor = slot.successor, None
            log.info("front replaced", front=slot.number)
        if slot.front is None and slot.successor is None and not self._stopping and now >= slot.start_at:
            slot.front = self._start(slot)

    def _on_death(self, slot: _Slot, front: Worker) -> None:
        pause_ms = slot.backoff.pause_ms(front.lived_s)
        log.error("front died", front=slot.number, exit_code=front.process.returncode, pause_ms=pause_ms)
        front.close(self._selector)
        slot.front, slot.start_at = None, time.monotonic() + pause_ms / 1000

    def _start(self, slot: _Slot) -> Worker | None:
        sockets = [argument for name, found in self._sockets.items() for one in found for argument in (name, str(one.fileno()))]
        tally = next(number for number in itertools.count() if number not in self._tallies())
        command = [sys.executable, "-m", "broker.serve.front", *self._arguments, "--slot", str(tally), *sockets]
        try:
            worker = spawn(command, [*self._inherited, *(one.fileno() for found in self._sockets.values() for one in found)])
        except OSError as error:
            log.error("no front can be started; trying again", error=error.strerror)
            slot.start_at = time.monotonic() + slot.backoff.pause_ms(0) / 1000
            return None
        worker.tally = tally
        self._selector.register(worker.ready, selectors.EVENT_READ, (self._on_ready, worker))
        return worker

    def _tallies(self) -> set[int]:
        """Return the files that somebody counts in, or may yet."""
        found = (*self._leaving, *(worker for slot in self._slots for worker in (slot.front, slot.successor)))
        return {worker.tally for worker in found if worker is not None}

    def _on_ready(self, worker: Worker) -> None:
        self._selector.unregister(worker.ready)
        worker.serving = bool(os.read(worker.ready, 1))  # an end of file instead: it died before
        if worker.serving:
            log.info("front serves", pid=worker.process.pid)

    def _roll_next(self) -> None:
        """Start the next successor, unless one is starting still."""
        if self._rolling and not any(slot.successor for slot in self._slots):
            slot = self._rolling.pop(0)
            if slot.front is not None:
                slot.successor = self._start(slot)

    def _leave(self, worker: Worker) -> None:
        with contextlib.suppress(ProcessLookupError):
            worker.process.send_signal(signal.SIGTERM)
        self._leaving[worker] = time.monotonic() + self._patience_s


def _sockets(config: Config) -> dict[str, list[socket.socket]]:
    """Return the listening sockets by the argument with which a front is given them."""
    sockets = {"--listen": listen("grpc.address", config.grpc.address)}
    if config.grpc.tls.token_address:
        sockets["--listen-tokens"] = listen("grpc.tls.token_address", config.grpc.tls.token_address)
    return sockets
