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
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg

from broker.client.credentials import generate_key
from broker.config import Config, load
from broker.demo.catalogue import write_app_keys, write_catalogue
from broker.demo.city import build_city
from broker.demo.consumers import CONSUMERS
from broker.demo.postgresql import copy_city
from broker.demo.processes import Simulators
from broker.errors import StartupError

START_TIMEOUT_S = 30
_PREFERRED_PORTS = {"grpc": 50051, "admin": 9464}
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
        config_file = _write_config(directory)
        tell("starting the broker")
        yield from _with_broker(directory, config_file, simulators)


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


def _write_config(directory: Path) -> Path:
    grpc, admin = (free_port(preferred) for preferred in _PREFERRED_PORTS.values())
    file = directory / "broker.toml"
    file.write_text(
        f'data_dir = "{directory.resolve() / "broker"}"\n\n'
        f'[grpc]\naddress = "127.0.0.1:{grpc}"\n\n[admin]\nhttp_address = "127.0.0.1:{admin}"\n',
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


def _with_broker(directory: Path, config_file: Path, simulators: Simulators) -> Iterator[Demo]:
    _broker(config_file, "catalogue", "apply", str(directory / "catalogue"))
    config = load(config_file)
    log_file = directory / "broker.log"
    with log_file.open("wb") as log:
        supervisor = subprocess.Popen(  # noqa: S603 - our own module
            [*_COMMAND, "serve", "--config", str(config_file)], stderr=log, start_new_session=True
        )
    try:
        demo = Demo(directory, config_file, config, simulators, supervisor)
        _wait_ready(demo, log_file)
        yield demo
    finally:
        supervisor.terminate()
        supervisor.wait()


_COMMAND = (sys.executable, "-m", "broker.cli.main")


def _broker(config_file: Path, *arguments: str) -> None:
    done = subprocess.run(  # noqa: S603 - our own module
        [*_COMMAND, *arguments, "--config", str(config_file)], capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise DemoFailed(f"`broker {' '.join(arguments)}` failed: {done.stderr.strip()}")


def _wait_ready(demo: Demo, log_file: Path) -> None:
    until = time.monotonic() + START_TIMEOUT_S
    while not is_ready(demo):
        if demo.supervisor.poll() is not None or time.monotonic() > until:
            raise DemoFailed(f"the broker did not come up; its log is {log_file}")
        time.sleep(0.05)


def is_ready(demo: Demo) -> bool:
    """Whether the broker says that it takes calls."""
    try:
        with urllib.request.urlopen(f"{demo.admin_url}/readyz", timeout=1) as answer:  # noqa: S310 - our own address
            return bool(answer.status == 200)
    except OSError:
        return False
