"""The demonstration, as a newcomer runs it; with its city in SQLite and in PostgreSQL."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from broker.demo.tour import STEPS
from tests.postgres import PostgresMissing, running_postgres

TIMEOUT_S = 110


def _demo(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "broker.cli.main", "demo", "--directory", str(directory), *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT_S, check=False)


@pytest.fixture(scope="module")
def directory(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("demo")


@pytest.mark.xdist_group("demo")
def test_every_step_does_what_it_says(directory: Path) -> None:
    """With the city in PostgreSQL, where there is one; in SQLite it is toured below."""
    try:
        with running_postgres() as server:
            done = _demo(directory, "--json", "--city-database", server.url(driver="postgresql"))
    except PostgresMissing:
        done = _demo(directory, "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["ok"]
    assert len(shown["steps"]) == len(STEPS)
    assert all(step["time_ms"] is None or step["time_ms"] > 0 for step in shown["steps"])
    assert "62 FOUND" in [step["result"] for step in shown["steps"]]


@pytest.mark.xdist_group("demo")
def test_keep_leaves_it_running_and_stopping_leaves_nothing(directory: Path) -> None:
    command = [sys.executable, "-m", "broker.cli.main", "demo", "--keep", "--directory", str(directory)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONUNBUFFERED": "1"})
    assert process.stdout is not None
    lines = iter(process.stdout.readline, "")
    tried: list[str] = []
    for line in lines:
        tried.append(line.strip())
        if line.startswith("Ctrl-C"):
            break
    exports = dict(pair.split("=", 1) for line in tried if line.startswith("export ") for pair in line.split()[1:])
    call = next(line for line in tried if " call national" in line).split()
    done = subprocess.run(
        [sys.executable, "-m", "broker.cli.main", *call[1:], "--json"],
        env=os.environ | exports, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert json.loads(done.stdout)["found"], done.stderr
    process.send_signal(signal.SIGINT)
    assert process.wait(timeout=20) == 0
    time.sleep(0.2)
    assert _processes_about(directory) == []


def _processes_about(directory: Path) -> list[str]:
    """Command lines of the processes that name a directory."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):  # it has ended meanwhile
            found.append(file.read_bytes().replace(b"\0", b" ").decode(errors="replace"))
    return [line for line in found if str(directory) in line]
