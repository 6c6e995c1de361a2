"""A broker as an operator runs it: supervisor and core as processes, on free ports, in a directory of its own."""

from __future__ import annotations

import asyncio
import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
import unittest.mock
import urllib.request
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import grpc

from broker import config
from broker.cli.main import main
from broker.client import AsyncClient, TokenSource, generate_key
from broker.model.catalogue import Catalogue
from broker.policy.database import open_database
from broker.policy.store import ControlPlane
from broker.v1 import admin_pb2
from broker.v1.admin_pb2_grpc import AdminServiceStub
from tests.support.catalogue import CONSUMER
from tests.support.ports import free_port

START_S = 60  # a machine with other work takes twenty
_RETRIES = {
    "maxAttempts": 5,
    "initialBackoff": "0.2s",
    "maxBackoff": "2s",
    "backoffMultiplier": 2,
    "retryableStatusCodes": ["UNAVAILABLE"],
}
_ASK_AGAIN = {"methodConfig": [{"name": [{}], "retryPolicy": _RETRIES}]}  # as an answer says while a disk is slow


def wait_until(condition: Callable[[], Any]) -> None:
    """Look again and again until something is so; how long that takes is not what is tested."""
    until = time.monotonic() + START_S
    while not condition():
        assert time.monotonic() < until, "it did not come to pass"
        time.sleep(0.01)


async def eventually(condition: Callable[[], Awaitable[Any]]) -> None:
    """`wait_until` for what has to be awaited."""
    async with asyncio.timeout(START_S):
        while not await condition():  # noqa: ASYNC110 - a process is watched from outside
            await asyncio.sleep(0.01)


class RunningBroker:
    """Start, talk to, and stop one broker."""

    def __init__(self, directory: Path, toml: str = "", **settings: str) -> None:
        """Settings are variables of the environment; `toml` is for those that are lists."""
        self.directory = directory
        self.settings_file = directory / "broker.toml" if toml else None
        if self.settings_file:
            self.settings_file.write_text(toml)
        self.target = f"127.0.0.1:{free_port()}"
        self.admin = f"127.0.0.1:{free_port()}"
        self.key_file = directory / "consumer.key"
        self.public_key = generate_key(self.key_file)
        self.log_file = directory / "log.jsonl"
        self.environment = {
            "BROKER__DATA_DIR": str(directory / "data"),
            "BROKER__GRPC__ADDRESS": self.target,
            "BROKER__GRPC__DRAIN_MS": "20",
            "BROKER__ADMIN__HTTP_ADDRESS": self.admin,
            "BROKER__ADMIN__SOCKET": str(directory / "admin.sock"),
            "BROKER__CONTROL__POLL_MS": "50",
            "BROKER__SUPERVISOR__SPARE_CORE": "false",  # whose imports are most of what a start costs
            "BROKER__LOG__LEVEL": "debug",
            "BROKER__LOG__FORMAT": "json",
        } | settings
        self.process: subprocess.Popen[bytes] | None = None
        self.in_force: Catalogue | None = None  # that was last put
        self.loaded: tuple[str, ...] = ()  # rows of the record base, where there is one

    @property
    def config(self) -> config.Config:
        return config.load(self.settings_file, self.environment)

    def apply(self, catalogue: Catalogue) -> int:
        control = ControlPlane(open_database(self.config))
        try:
            return control.apply(catalogue)[0]
        finally:
            control.close()

    async def put(self, catalogue: Catalogue) -> None:
        """Apply a catalogue and wait until core and fronts serve from it."""
        version = self.apply(catalogue)
        async with self._admin() as channel:
            stub: Any = AdminServiceStub(channel)
            assert (await stub.Reload(admin_pb2.ReloadRequest())).snapshot_version >= version
        self.in_force = catalogue

    def command(self, *arguments: str) -> list[str]:
        named = ["--config", str(self.settings_file)] if self.settings_file else []
        return [sys.executable, "-m", "broker.cli.main", *arguments, *named]

    def run(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end, beside or instead of the broker."""
        return subprocess.run(
            self.command(*arguments),
            env={**os.environ, **self.environment, **environment},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    def run_here(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run a command to its end in this process: an interpreter that starts anew takes a second for each."""
        out, errors = (io.TextIOWrapper(io.BytesIO(), encoding="utf-8", write_through=True) for _ in range(2))
        with (
            unittest.mock.patch.dict(os.environ, self.environment | environment),
            unittest.mock.patch.object(sys, "argv", ["broker", *arguments]),
            contextlib.redirect_stdout(out),
            contextlib.redirect_stderr(errors),
        ):
            try:
                main()
                code = 0
            except SystemExit as end:
                code = int(end.code or 0)
        written = [stream.buffer.getvalue().decode() for stream in (out, errors)]  # type: ignore[attr-defined]
        return subprocess.CompletedProcess(arguments, code, *written)

    def launch(self, **options: Any) -> None:
        """Start and do not wait; the options are those of `Popen`."""
        with self.log_file.open("ab") as log:
            environment = {**os.environ, **self.environment}
            self.process = subprocess.Popen(self.command("serve"), stderr=log, env=environment, **options)

    def start(self, **options: Any) -> None:
        """Start and wait until it serves; the options are those of `Popen`."""
        self.launch(**options)
        try:
            self.wait_ready()
        except BaseException:
            self.kill()
            raise

    def wait_ready(self) -> None:
        until = time.monotonic() + START_S
        while time.monotonic() < until:
            try:
                if urllib.request.urlopen(f"http://{self.admin}/readyz", timeout=1).status == 200:
                    return
            except OSError:
                time.sleep(0.02)
            assert self.process is None or self.process.poll() is None, self.log_file.read_text()
        raise AssertionError(self.log_file.read_text())

    def metrics(self) -> str:
        return urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=5).read().decode()

    def client(self, consumer: str = CONSUMER, key_file: Path | None = None) -> AsyncClient:
        return AsyncClient(self.target, TokenSource(consumer, key_file or self.key_file))

    def _admin(self) -> grpc.aio.Channel:
        socket = self.config.path(self.config.admin.socket)
        return grpc.aio.insecure_channel(f"unix:{socket}", options=[("grpc.service_config", json.dumps(_ASK_AGAIN))])

    async def purge(self, **target: object) -> int:
        """Purge through the admin socket; returns the number removed."""
        async with self._admin() as channel:
            stub: Any = AdminServiceStub(channel)
            return int((await stub.Purge(admin_pb2.PurgeRequest(**target))).removed)

    def workers(self) -> list[int]:
        """The processes below the supervisor, oldest first: the serving core, its spare if there is one, the fronts."""
        assert self.process is not None
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text()
        return [int(pid) for pid in children.split()]

    def cores(self) -> list[int]:
        """The serving core and its spare, oldest first."""
        return [pid for pid in self.workers() if "broker.serve.core" in _command_of(pid)]

    def fronts(self) -> list[int]:
        """The fronts, oldest first."""
        return [pid for pid in self.workers() if "broker.serve.front" in _command_of(pid)]

    def core_pid(self) -> int:
        """The serving core: the only one that listens for the operators' page."""
        return next(pid for pid in self.cores() if _listens(pid, int(self.admin.rpartition(":")[2])))

    def spare_pid(self) -> int:
        """The spare, waited for; it may not have done its imports yet."""
        wait_until(lambda: len(self.cores()) == 2)
        return self.cores()[1]

    def await_spare(self) -> None:
        """Wait until the spare has done its imports: it has used no processor for a while."""
        spare, used = self.spare_pid(), [-1]

        def stands_by() -> bool:
            time.sleep(0.3)
            used.append(_processor_time(spare))
            return used[-1] == used[-2]

        wait_until(stands_by)

    def stop(self, number: int = signal.SIGTERM) -> int:
        assert self.process is not None
        self.process.send_signal(number)
        code = self.process.wait(timeout=15)
        self.process = None
        return code

    def kill(self) -> None:
        """Leave nothing behind, whatever state a test that failed has left it in."""
        if self.process is not None:
            for pid in self.workers():
                with contextlib.suppress(ProcessLookupError):  # it has ended since it was listed
                    os.kill(pid, signal.SIGKILL)
            self.stop(signal.SIGKILL)


def _processor_time(pid: int) -> int:
    """What a process has used of the processor, in ticks."""
    of_user, of_system = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13]
    return int(of_user) + int(of_system)


def _command_of(pid: int) -> str:
    with contextlib.suppress(FileNotFoundError, ProcessLookupError):  # ended while we look
        return Path(f"/proc/{pid}/cmdline").read_text()
    return ""


def _listens(pid: int, port: int) -> bool:
    sockets = set()
    for path in Path(f"/proc/{pid}/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # closed while we look
            sockets.add(str(path.readlink()))
    for line in (*Path("/proc/net/tcp").read_text().splitlines(), *Path("/proc/net/tcp6").read_text().splitlines()):
        parts = line.split()
        if parts[3] == "0A" and parts[1].endswith(f":{port:04X}") and f"socket:[{parts[9]}]" in sockets:
            return True
    return False
