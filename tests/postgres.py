"""A PostgreSQL server for a test: its own data directory, a free port on loopback, trust authentication, gone afterwards."""

from __future__ import annotations

import contextlib
import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from tests.support.ports import free_port


class PostgresMissing(Exception):
    """There is no PostgreSQL server on this machine, or no account that may run it."""


@dataclass(frozen=True)
class Postgres:
    """A running server."""

    port: int
    directory: Path
    bin: Path
    account: str | None

    def url(self, driver: str = "postgresql+psycopg", database: str = "postgres") -> str:
        return f"{driver}://postgres@127.0.0.1:{self.port}/{database}"

    def start(self) -> None:
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -c unix_socket_directories='' -c fsync=off"
        self._run("pg_ctl", "start", "-w", "-D", str(self.directory), "-l", str(self.directory / "server.log"), "-o", options)

    def stop(self) -> None:
        self._run("pg_ctl", "stop", "-w", "-m", "immediate", "-D", str(self.directory))

    def initialise(self) -> None:
        self._run("initdb", "-D", str(self.directory), "-U", "postgres", "-A", "trust", "-E", "UTF8", "--locale=C", "--no-sync")

    def _run(self, program: str, *arguments: str) -> None:
        # Discarded, not piped: the server that pg_ctl starts would inherit a pipe and keep it open.
        subprocess.run(
            [self.bin / program, *arguments],
            check=True,
            user=self.account,
            cwd=self.directory,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            timeout=60,
        )


@contextlib.contextmanager
def running_postgres() -> Iterator[Postgres]:
    """Start a server and stop it at the end. Raises `PostgresMissing`."""
    programs, account = _programs(), _account()
    # Not under pytest's own directory, which other accounts may not enter.
    with tempfile.TemporaryDirectory(prefix="broker-postgres-") as directory:
        if account is not None:
            shutil.chown(directory, user=account)
        server = Postgres(free_port(), Path(directory), programs, account)
        server.initialise()
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _programs() -> Path:
    """Return the newest directory that has the server's programs: Debian's, else the one on the path."""
    debian = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"), key=lambda path: float(path.parts[-3]))
    on_path = [Path(found) for found in (shutil.which("pg_ctl"),) if found]
    for program in (*reversed(debian), *on_path):
        if (program.parent / "initdb").exists():
            return program.parent
    raise PostgresMissing("no initdb and pg_ctl found")


def _account() -> str | None:
    """Return the account to run the server under: it refuses to be root's."""
    if os.getuid() != 0:
        return None
    try:
        return pwd.getpwnam("postgres").pw_name
    except KeyError:
        raise PostgresMissing("root may not run PostgreSQL and there is no account `postgres`") from None
