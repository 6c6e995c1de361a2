"""What the benchmarks of the front measure against each other: a broker with everything on, and two bare servers.

The broker is that of `hot_call` with quotas in its grant and, where this version has one, a front. What must not go in here:
how they are loaded, and what is measured of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from typing import NamedTuple

import msgspec

from bench import h2load, hamlet, hot_call, machine, servers
from bench.benchmark import Skipped, Wrong
from bench.h2load import Shape
from bench.servers import Broker, Server
from broker.client import TokenSource
from broker.config import Grpc
from broker.demo.launch import free_port
from broker.policy.database import Database
from broker.policy.store import ControlPlane
from broker.v1 import exchange_pb2 as pb

HAS_FRONT = "fronts" in Grpc.__struct_fields__
BROKER = "broker, all on, 1 front" if HAS_FRONT else "broker, all on, NO front: core on TCP"
AIO, CPP = "bare grpc.aio", "bare C++"

# The one place that says how a front is asked for. An environment variable, because servers.py writes the section [grpc].
_FRONTS = {"BROKER__GRPC__FRONTS": "1"} if HAS_FRONT else {}
_SETTINGS = "[supervisor]\nspare_core = false\n"  # it would start beside the first rounds, on the core of the servers
_QUOTA = 10**12  # never used up, and as dear as any: blocks are of a thousand calls at most

_ROOT = Path(__file__).parents[1]
_CPP = Path(__file__).parent / "peers" / "cpp"
_CPP_BUILD = _ROOT / "build" / "bench-cpp"
_CPP_TOOLS = ("make", "g++", "pkg-config", "protoc", "grpc_cpp_plugin")
_CPP_LIBRARIES = ("grpc++", "protobuf", "lmdb")
_CPP_PACKAGES = "make g++ libgrpc++-dev libprotobuf-dev protobuf-compiler protobuf-compiler-grpc liblmdb-dev"
_PATIENCE_S = 30.0
_SETTLING_SHAPE = Shape(8, 32)


class World(NamedTuple):
    """A broker whose cache is warm, and the one question and answer."""

    directory: Path
    broker: Broker
    tokens: TokenSource
    hot: pb.CallResponse

    @property
    def data_dir(self) -> Path:
        """The broker's."""
        return self.directory / "data"

    @property
    def core_socket(self) -> Path:
        """Where the core listens behind a front."""
        return self.data_dir / "core.sock"

    @property
    def body(self) -> Path:
        """The question, as it is sent."""
        return body(self.directory, "call", hamlet.question().SerializeToString())


@contextmanager
def world(settings: str = "", parent: Path | None = None) -> Iterator[World]:
    """Run the broker within the context, with further sections of settings, and in a directory below `parent`."""
    h2load.check_installed()
    with tempfile.TemporaryDirectory(prefix="bench-", dir=parent) as name:
        directory = Path(name)
        with _environment(), servers.broker(directory, _SETTINGS + settings) as broker:
            _set_quotas(directory, broker)
            tokens = TokenSource(hamlet.CONSUMER, hamlet.key_file(directory))
            yield World(directory, broker, tokens, hot_call._hot_answer(broker, tokens))


@contextmanager
def _environment() -> Iterator[None]:
    before = dict(os.environ)
    os.environ.update(_FRONTS)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def _set_quotas(directory: Path, broker: Broker) -> None:
    """Put quotas into the grant and wait until they are in force."""
    before = broker.counter("broker_policy_snapshot_version", {})
    with closing(ControlPlane(Database(f"sqlite:///{directory}/data/control.db"))) as control:
        _, own = control.read()
        replace = msgspec.structs.replace
        grants = tuple(replace(grant, quota_per_day=_QUOTA, quota_total=_QUOTA) for grant in own.grants)
        control.apply(replace(own, grants=grants))
    until = time.monotonic() + _PATIENCE_S
    while broker.counter("broker_policy_snapshot_version", {}) == before:
        if time.monotonic() > until:
            raise Wrong("the quotas do not come into force")
        time.sleep(0.05)


def body(directory: Path, name: str, message: bytes) -> Path:
    """Write what h2load sends."""
    file = directory / f"{name}.body"
    file.write_bytes(h2load.frame(message))
    return file


def answering(world: World) -> Server:
    """Return the broker with the process of it that answers hot calls: the one that they cost most.

    Raises:
        Wrong: it is not the front, where there is one.
    """
    driver = hot_call.Driver(
        world.broker.server, _SETTLING_SHAPE, world.body, world.tokens, lambda: hot_call.counted(world.broker)
    )
    driver.round()  # finds out how many requests are enough
    before = {pid: machine.cpu_s(pid) for pid in servers.workers(world.broker.supervisor)}
    driver.round()
    busiest = max(before, key=lambda pid: machine.cpu_s(pid) - before[pid])
    if HAS_FRONT and listens(busiest, world.core_socket):
        raise Wrong("hot calls are answered by the core, and not by the front")
    return Server(world.broker.server.target, busiest)


def listens(pid: int, socket: Path) -> bool:
    """Whether a process has this unix socket open for listening."""
    lines = (line.split() for line in Path("/proc/net/unix").read_text(encoding="utf-8").splitlines())
    ours = {f"socket:[{line[6]}]" for line in lines if line[7:] == [str(socket)]}
    return any(str(link.readlink()) in ours for link in Path(f"/proc/{pid}/fd").iterdir())


@contextmanager
def bare_aio(world: World) -> Iterator[Server]:
    """Run the bare `grpc.aio` server within the context."""
    with _bare(world, "aio", [sys.executable, "-m", "bench.peers.aio_bare"]) as server:
        yield server


@contextmanager
def bare_cpp(world: World, prefix: Sequence[str] = ()) -> Iterator[Server]:
    """Run the bare C++ server, which is built if need be, within the context; `prefix` is a program that runs it.

    Raises:
        Skipped: it cannot be built here.
    """
    with _bare(world, "cpp", [*prefix, str(built_cpp())]) as server:
        yield server


def built_cpp() -> Path:
    """Build the bare C++ server.

    Raises:
        Skipped: it cannot be built here; the text says what is missing.
    """
    found = all(shutil.which(tool) for tool in _CPP_TOOLS)
    if not found or subprocess.run(["pkg-config", "--exists", *_CPP_LIBRARIES], check=False).returncode:
        raise Skipped(f"{CPP}: it cannot be built here; on Debian or Ubuntu: apt-get install {_CPP_PACKAGES}")
    command = ["make", "-f", str(_CPP / "Makefile"), f"BUILD={_CPP_BUILD}"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        raise Skipped(f"{CPP}: it does not build here: {done.stderr.strip().splitlines()[-1]}")
    return _CPP_BUILD / "bare"


@contextmanager
def _bare(world: World, name: str, command: Sequence[str]) -> Iterator[Server]:
    """Run a bare server, which reads the one answer from an LMDB of its own."""
    home, target = world.directory / name, f"127.0.0.1:{free_port()}"
    (home / "lmdb").mkdir(parents=True, exist_ok=True)
    (home / "request").write_bytes(hamlet.question().SerializeToString())
    (home / "answer").write_bytes(world.hot.SerializeToString())
    words = [*command, target, *(str(home / file) for file in ("request", "answer", "lmdb"))]
    with started(words, home / "log", target) as server:
        if hot_call.ask(server, world.tokens()) != world.hot:
            raise Wrong(f"the bare server ({name}) does not give the broker's answer")
        yield server


@contextmanager
def started(command: list[str], log: Path, target: str, patience_s: float = _PATIENCE_S) -> Iterator[Server]:
    """Run a server on the core of the servers within the context, once it takes calls."""
    with servers._process(command, log) as process:
        until = time.monotonic() + patience_s
        while not servers._takes_calls(target):
            if process.poll() is not None or time.monotonic() > until:
                raise Wrong(f"{command[0]} did not come up: {log.read_text(errors='replace')[-300:]}")
        yield Server(target, process.pid)
