"""Starts the servers that are measured, each on the core of the servers, and looks at their counters.

The broker runs as an operator runs it: `broker serve` with a settings file. What must not go in here: what it is asked.
"""

from __future__ import annotations

import contextlib
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import grpc
from prometheus_client.parser import text_string_to_metric_families

from bench import hamlet, machine
from broker.demo.launch import free_port

START_S = 30
_BROKER = (sys.executable, "-m", "broker.cli.main")


class Server(NamedTuple):
    """A running server, and the process that does its work."""

    target: str
    pid: int


class Broker(NamedTuple):
    """A running broker."""

    server: Server
    admin: str
    supervisor: int

    def counter(self, name: str, labels: Mapping[str, str]) -> int:
        """Read a counter off its page, over all series that have these labels."""
        with urllib.request.urlopen(f"http://{self.admin}/metrics", timeout=5) as page:
            families = text_string_to_metric_families(page.read().decode())
            samples = [sample for family in families for sample in family.samples if sample.name == name]
        return int(sum(sample.value for sample in samples if labels.items() <= sample.labels.items()))


@contextlib.contextmanager
def broker(directory: Path, settings: str = "") -> Iterator[Broker]:
    """Run a broker with the catalogue of `hamlet` within the context; everything it needs is made in the directory.

    `settings` are further sections of its settings file.
    """
    catalogue = hamlet.write(directory)
    target, admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
    file = directory / "broker.toml"
    file.write_text(
        f'data_dir = "{directory / "data"}"\n[grpc]\naddress = "{target}"\n[admin]\nhttp_address = "{admin}"\n{settings}',
        encoding="utf-8",
    )
    config = ["--config", str(file)]
    subprocess.run([*_BROKER, "catalogue", "apply", str(catalogue), *config], check=True, stdout=subprocess.DEVNULL)
    with _process([*_BROKER, "serve", *config], directory / "broker.log") as process:
        _wait(lambda: _is_ready(admin), process)
        yield Broker(Server(target, workers(process.pid)[0]), admin, process.pid)


@contextlib.contextmanager
def bare_aio(directory: Path, answer: bytes) -> Iterator[Server]:
    """Run the bare `grpc.aio` server within the context; it gives this serialised answer to everything."""
    file = directory / "answer.bin"
    file.write_bytes(answer)
    target = f"127.0.0.1:{free_port()}"
    with _process([sys.executable, "-m", "bench.peers.bare_aio", target, str(file)], directory / "bare_aio.log") as process:
        _wait(lambda: _takes_calls(target), process)
        yield Server(target, process.pid)


@contextlib.contextmanager
def _process(command: list[str], log_file: Path) -> Iterator[subprocess.Popen[bytes]]:
    with log_file.open("wb") as log, machine.on_server_core():
        process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)
    try:
        yield process
    finally:
        process.terminate()
        process.wait()


def _wait(ready: Callable[[], bool], process: subprocess.Popen[bytes]) -> None:
    until = time.monotonic() + START_S
    while not ready():
        if process.poll() is not None or time.monotonic() > until:
            raise RuntimeError(f"{process.args!r} did not come up")
        time.sleep(0.05)


def _is_ready(admin: str) -> bool:
    try:
        with urllib.request.urlopen(f"http://{admin}/readyz", timeout=1) as answer:
            return bool(answer.status == 200)
    except OSError:
        return False


def _takes_calls(target: str) -> bool:
    with grpc.insecure_channel(target) as channel, contextlib.suppress(grpc.FutureTimeoutError):
        grpc.channel_ready_future(channel).result(timeout=1)
        return True
    return False


def workers(supervisor: int) -> list[int]:
    """Return a supervisor's children, the oldest first: the core, and its spare if there is one."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text(encoding="ascii")
    return [int(pid) for pid in children.split()]
