"""Starts the simulators as processes of their own, tells where they listen, and makes sure that none outlives its parent.

What must not go in here: what a simulator does (simulators.py).
"""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple, Self

from broker.demo.catalogue import Addresses, sqlite_url
from broker.demo.faults import Kind

_START_TIMEOUT_S = 30.0
_STOP_TIMEOUT_S = 3.0
_CONTROL_TIMEOUT_S = 5.0
_LEVELS = ("national", "provincial")


class SimulatorFailed(RuntimeError):
    """A simulator did not start, or its control refused; the text says which and why."""


class Ports(NamedTuple):
    """Where one simulator listens on loopback; no gRPC port where no department speaks it."""

    http: int
    grpc: int


class Simulators:
    """The national and the provincial simulator; within the context both run."""

    def __init__(
        self,
        city: Path,
        secrets: Path,
        *,
        seed: int = 1,
        latency_scale: float = 1.0,
        quota_per_minute: int = 10_000_000,
        secret_life_s: float = 600.0,
    ) -> None:
        self.city = city
        self.ports: dict[str, Ports] = {}
        self._options = {
            "--city": city,
            "--secrets": secrets,
            "--seed": seed,
            "--latency-scale": latency_scale,
            "--quota-per-minute": quota_per_minute,
            "--secret-life": secret_life_s,
        }
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._lifeline = -1  # writing end of a pipe that closes with this process, however it ends

    def __repr__(self) -> str:
        return f"<Simulators {self.ports or 'stopped'}>"

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Start both and wait until they are ready.

        Raises:
            SimulatorFailed: one ended or was not ready in time; then none is left running.
        """
        parent, self._lifeline = os.pipe()
        try:
            ready = {level: self._spawn(level, parent) for level in _LEVELS}
            until = time.monotonic() + _START_TIMEOUT_S
            self.ports = {level: _read_ports(level, descriptor, until) for level, descriptor in ready.items()}
        except BaseException:
            self.stop()
            raise
        finally:
            os.close(parent)

    def stop(self) -> None:
        """End both; harmless when they have ended."""
        for process in self._processes.values():
            process.terminate()
        for process in self._processes.values():
            try:
                process.wait(_STOP_TIMEOUT_S)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()
        self._processes.clear()
        self.ports = {}
        if self._lifeline >= 0:
            os.close(self._lifeline)
            self._lifeline = -1

    def addresses(self, city_url: str = "", city_password_file: str = "") -> Addresses:
        """Return what the catalogue must say; the city's departments are in the SQLite file unless a URL is given."""
        return Addresses(
            national=self.url("national"),
            provincial=self.url("provincial"),
            provincial_grpc=f"127.0.0.1:{self.ports['provincial'].grpc}",
            city=city_url or sqlite_url(self.city),
            city_password_file=city_password_file,
        )

    def url(self, level: str) -> str:
        """Return the base URL of a simulator."""
        return f"http://127.0.0.1:{self.ports[level].http}"

    def stats(self, level: str) -> dict[str, Any]:
        """Return what a simulator has been asked (`Counts.report`)."""
        return dict(json.loads(self._control(level, "stats")))

    def fault(self, provider: str, kind: Kind, *, seconds: float = 0, latency_ms: int = 1500) -> None:
        """Switch a fault of a provider, or of a whole level (``national``), on; off with ``none``.

        Raises:
            SimulatorFailed: there is no such provider or kind.
        """
        order = {"provider": provider, "kind": kind, "seconds": seconds, "latency_ms": latency_ms}
        self._control(provider.partition(".")[0], "fault", json.dumps(order).encode())

    def _spawn(self, level: str, parent: int) -> int:
        """Start one and return the reading end of the pipe on which it will report."""
        reading, writing = os.pipe()
        options = {**self._options, "--level": level, "--ready-fd": writing, "--parent-fd": parent}
        command = [sys.executable, "-m", "broker.demo.simulators"]
        command += [str(word) for option in options.items() for word in option]
        try:
            self._processes[level] = subprocess.Popen(  # noqa: S603 - our own module
                command,
                stdin=subprocess.DEVNULL,
                pass_fds=(writing, parent),
                start_new_session=True,  # Ctrl-C is the parent's to handle
            )
        finally:
            os.close(writing)
        return reading

    def _control(self, level: str, what: str, body: bytes | None = None) -> bytes:
        if level not in self.ports:
            raise SimulatorFailed(f"no simulator of level `{level}` is running")
        try:
            with urllib.request.urlopen(f"{self.url(level)}/_sim/{what}", body, _CONTROL_TIMEOUT_S) as answer:  # noqa: S310
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            raise SimulatorFailed(error.read().decode()) from error


def _read_ports(level: str, descriptor: int, until: float) -> Ports:
    with os.fdopen(descriptor, "rb") as pipe:
        if not select.select([pipe], [], [], max(0.0, until - time.monotonic()))[0]:
            raise SimulatorFailed(f"the {level} simulator was not ready within {_START_TIMEOUT_S:g} s")
        line = pipe.readline()
    if not line:
        raise SimulatorFailed(f"the {level} simulator ended before it was ready; see standard error")
    return Ports(**json.loads(line))
