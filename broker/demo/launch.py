"""Starts the demonstration: the synthetic city, the provider simulators, consumers' keys, a catalogue, and a broker.

Everything lives in one directory and on free ports; the broker runs as it would anywhere, from a settings file and a catalogue
directory that the commands a visitor is shown can be pointed at. What must not go in here: what is shown (tour.py).
"""

from __future__ import annotations

import contextlib
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import grpc
import psycopg

from broker.client.credentials import generate_key
from broker.config import Config, load
from broker.demo.catalogue import write_app_keys, write_catalogue
from broker.demo.city import build_city
from broker.demo.consumers import CONSUMERS
from broker.demo.postgresql import copy_city
from broker.demo.processes import Simulators
from broker.demo.register import load_arguments, write_register
from broker.errors import PortTaken, StartupError
from broker.v1.admin_pb2 import GetStatusRequest
from broker.v1.admin_pb2_grpc import AdminServiceStub

START_TIMEOUT_S = 30
_PREFERRED_PORTS, _ANY_PORTS = (50051, 9464), (0, 0)  # gRPC, admin page
Tell = Callable[[str], None]


class DemoFailed(StartupError):
    """The demonstration could not be started; the text says which part and where its log is."""

    exit_code = 11


@dataclass(frozen=True)
class Demo:
    """A running demonstration."""

    directory: Path
    config_file: Path
    config: Config
    simulators: Simulators
    supervisor: subprocess.Popen[bytes]

    @property
    def catalogue(self) -> Path:
        """The catalogue's directory."""
        return self.directory / "catalogue"

    @property
    def city(self) -> Path:
        """The city's SQLite file."""
        return self.directory / "city.db"

    @property
    def target(self) -> str:
        """Where consumers call."""
        return self.config.grpc.address

    @property
    def admin_url(self) -> str:
        """Where monitoring looks."""
        return f"http://{self.config.admin.http_address}"

    def key_file(self, consumer: str) -> Path:
        """The private key of a consumer."""
        return self.directory / "keys" / f"{consumer}.key"


@contextlib.contextmanager
def running(directory: Path, city_url: str, tell: Tell) -> Iterator[Demo]:
    """Run a demonstration within the context. `city_url` is a database to copy the city to; "" keeps it in SQLite.

    Raises:
        DemoFailed: the broker did not come up.
    """
    tell("building the synthetic city")
    build_city(
        directory / "city.db", progress=lambda table, rows: tell(f"building the synthetic city: {table} ({rows:,} rows)")
    )
    _forget_last_run(directory)
    if city_url:
        tell("copying the city to the database")
        _copy_city(directory / "city.db", city_url)
    tell("starting the providers' simulators")
    secrets = directory / "broker" / "secrets"
    write_app_keys(secrets)
    with Simulators(directory / "city.db", secrets) as simulators:
        write_catalogue(directory / "catalogue", simulators.addresses(_asked_by_broker(city_url)), _public_keys(directory))
        write_register(directory / "catalogue")
        demo = _start_broker(directory, simulators, tell)
        try:
            yield demo
        finally:
            demo.supervisor.terminate()
            demo.supervisor.wait()


def _copy_city(city: Path, city_url: str) -> None:
    try:
        copy_city(city, city_url)
    except psycopg.Error as error:
        raise DemoFailed(f"--city-database: cannot be used; it must be an empty database ({type(error).__name__})") from error


def _asked_by_broker(city_url: str) -> str:
    """The same database as SQLAlchemy names it, with the driver that the broker has."""
    return city_url.replace("postgresql://", "postgresql+psycopg://", 1)


def _forget_last_run(directory: Path) -> None:
    """Cache, grants and keys of an earlier run would make the first call anything but the first."""
    for part in ("broker", "catalogue", "keys"):
        shutil.rmtree(directory / part, ignore_errors=True)


def _public_keys(directory: Path) -> dict[str, str]:
    keys = directory / "keys"
    keys.mkdir(mode=0o700, parents=True)
    return {consumer: generate_key(keys / f"{consumer}.key") for consumer in CONSUMERS}


def _write_config(directory: Path, ports: tuple[int, int]) -> Path:
    grpc_port, admin_port = (free_port(preferred) for preferred in ports)
    file = directory / "broker.toml"
    file.write_text(
        f'data_dir = "{directory.resolve() / "broker"}"\n\n'
        f'[grpc]\naddress = "127.0.0.1:{grpc_port}"\n\n[admin]\nhttp_address = "127.0.0.1:{admin_port}"\n',
        encoding="utf-8",
    )
    return file


def free_port(preferred: int = 0) -> int:
    """Return the preferred port if nobody listens on it, else any free one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", preferred))
        except OSError:
            probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _start_broker(directory: Path, simulators: Simulators, tell: Tell) -> Demo:
    """Start on the preferred ports if they are free, and on others if somebody takes them in between."""
    for ports in (_PREFERRED_PORTS, _ANY_PORTS):
        config_file = _write_config(directory, ports)
        _broker(config_file, "catalogue", "apply", str(directory / "catalogue"))
        tell("loading the population register, and building what it is searched by")
        _broker(config_file, *load_arguments(directory / "city.db"))
        tell("starting the broker")
        with (directory / "broker.log").open("wb") as log:
            supervisor = subprocess.Popen(  # noqa: S603 - our own module
                [*_COMMAND, "serve", "--config", str(config_file)], stderr=log, start_new_session=True
            )
        demo = Demo(directory, config_file, load(config_file), simulators, supervisor)
        if _wait_ready(demo):
            return demo
        supervisor.terminate()
        if supervisor.wait() != PortTaken.exit_code:
            break
    raise DemoFailed(f"the broker did not come up; its log is {directory / 'broker.log'}")


_COMMAND = (sys.executable, "-m", "broker.cli.main")


def _broker(config_file: Path, *arguments: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own module
        [*_COMMAND, *arguments, "--config", str(config_file)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DemoFailed(f"`broker {' '.join(arguments)}` failed: {done.stderr.strip()}")


def _wait_ready(demo: Demo) -> bool:
    """Wait until the broker serves; False if it ended or takes too long."""
    until = time.monotonic() + START_TIMEOUT_S
    while demo.supervisor.poll() is None and time.monotonic() < until:
        if _serves(demo):
            return True
        time.sleep(0.05)
    return False


def _serves(demo: Demo) -> bool:
    """Ask over the admin socket: it is this broker's own, whereas anybody's might answer on a port."""
    with grpc.insecure_channel(f"unix:{demo.config.path(demo.config.admin.socket)}") as channel:
        try:
            return not AdminServiceStub(channel).GetStatus(GetStatusRequest(), timeout=1).draining
        except grpc.RpcError:
            return False
