"""What happens to processes: killed cores, second instances, stops, and starts that cannot succeed."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.client import CallFailed
from tests.support.catalogue import INTERFACE, PURPOSE, catalogue
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker

WHO = resident_id(1)


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A broker that only this test kills."""
    running = RunningBroker(tmp_path_factory.mktemp("s"))
    running.start()
    yield running
    if running.process is not None:
        running.stop()


def _run(broker: RunningBroker, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        broker.command(*arguments),
        env=os.environ | broker.environment | environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


async def test_a_killed_core_is_back_with_a_warm_cache_under_load(own: RunningBroker, register: Register) -> None:
    names = {resident_id(n): f"人{n}" for n in range(50)}
    for who, name in names.items():
        register.add(who, name)
    await own.put(catalogue(register.base_url, own.public_key))
    wrong, outages = [], []
    stop = asyncio.Event()

    async def load(client, turn: int) -> None:
        while not stop.is_set():
            who = resident_id(turn % 50)
            turn += 7
            try:
                answer = await client.call(INTERFACE, {"resident_id": who}, purpose=PURPOSE, timeout_s=2)
                wrong.extend([who] if answer.fields["name"] != names[who] else [])
            except CallFailed as failure:
                wrong.extend([] if failure.code.name == "UNAVAILABLE" else [str(failure)])

    async with own.client() as client:
        await asyncio.gather(*(client.call(INTERFACE, {"resident_id": who}, purpose=PURPOSE) for who in names))
        asked = register.calls
        workers = [asyncio.create_task(load(client, turn)) for turn in range(8)]
        for _ in range(3):
            await asyncio.sleep(1.5)  # time for the spare to get ready
            os.kill(own.core_pid(), signal.SIGKILL)
            outages.append(await _outage_s(own))
        stop.set()
        await asyncio.gather(*workers)
    assert wrong == []
    assert len(outages) == 3  # how long each took is measured by `python -m bench restart`
    assert register.calls == asked, "the cache stayed warm"
    assert 'broker_worker_restarts{worker="core"} 3.0' in own.metrics()


async def _outage_s(own: RunningBroker) -> float:
    """Time until a new client gets an answer from the cache."""
    began = time.monotonic()
    while True:
        async with own.client() as client:
            try:
                answer = await client.call(INTERFACE, {"resident_id": WHO}, purpose=PURPOSE, timeout_s=1)
                assert answer.provenance.source == "CACHE"
                return time.monotonic() - began
            except CallFailed:
                await asyncio.sleep(0.01)


def test_a_second_instance_on_the_same_directory_refuses(own: RunningBroker) -> None:
    second = _run(own, "serve")
    assert second.returncode == 7
    assert second.stderr.count("\n") == 1
    assert "another broker is running" in second.stderr


async def test_a_stop_lets_calls_in_progress_end(own: RunningBroker, register: Register) -> None:
    register.add(WHO, "张三")
    register.delay_s = 0.5
    await own.put(catalogue(register.base_url, own.public_key))
    async with own.client() as client:
        call = asyncio.create_task(client.call(INTERFACE, {"resident_id": WHO}, purpose=PURPOSE))
        await asyncio.sleep(0.2)
        assert await asyncio.to_thread(own.stop) == 0
        assert (await call).found


def test_a_stop_leaves_no_process_behind(own: RunningBroker) -> None:
    assert own.process is not None
    group = Path(f"/proc/{own.process.pid}/task/{own.process.pid}/children").read_text().split()
    assert own.stop(signal.SIGINT) == 0
    assert [pid for pid in group if Path(f"/proc/{pid}").exists()] == []


def test_a_supervisor_killed_hard_takes_its_workers_with_it(own: RunningBroker) -> None:
    assert own.process is not None
    workers = Path(f"/proc/{own.process.pid}/task/{own.process.pid}/children").read_text().split()
    own.stop(signal.SIGKILL)
    assert _run(own, "serve").returncode == 7, "nobody starts beside a core that is still there"
    until = time.monotonic() + 5
    while any(Path(f"/proc/{pid}").exists() for pid in workers):
        assert time.monotonic() < until
        time.sleep(0.01)
    own.start()


REFUSED_STARTS = [
    ("port", 4, "grpc.address"),
    ("admin_port", 4, "admin.http_address"),
    ("directory", 5, "data_dir"),
    ("config", 3, "nonsense"),
    ("config_file", 3, "cannot be read"),
    ("socket_path", 5, "admin.socket"),
]


@pytest.mark.parametrize(("what", "code", "said"), REFUSED_STARTS)
def test_a_start_that_cannot_succeed_is_one_line_and_an_exit_code(tmp_path: Path, what: str, code: int, said: str) -> None:
    broker = RunningBroker(tmp_path)
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        (tmp_path / "file").write_text("")
        environment, arguments = {
            "port": ({"BROKER__GRPC__ADDRESS": address}, ()),
            "admin_port": ({"BROKER__ADMIN__HTTP_ADDRESS": address}, ()),
            "directory": ({"BROKER__DATA_DIR": str(tmp_path / "file" / "data")}, ()),
            "config": ({"BROKER__GRPC__NONSENSE": "1"}, ()),
            "config_file": ({}, ("--config", str(tmp_path / "nowhere.toml"))),
            "socket_path": ({"BROKER__ADMIN__SOCKET": str(tmp_path / ("x" * 120))}, ()),
        }[what]
        done = _run(broker, "serve", *arguments, BROKER__LOG__LEVEL="error", **environment)
    lines = [line for line in done.stderr.splitlines() if line.startswith("broker: ")]
    assert done.returncode == code, done.stderr
    assert len(lines) == 1, done.stderr
    assert said in lines[0]
    assert "Traceback" not in done.stderr


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_a_read_only_directory_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    broker = RunningBroker(tmp_path)
    (tmp_path / "data").mkdir(mode=0o500)
    assert _run(broker, "serve").returncode == 5


def test_a_missing_key_file_is_one_line_and_an_exit_code(tmp_path: Path) -> None:
    broker = RunningBroker(tmp_path)
    for arguments in (
        ("consumer", "issue-token", "tax-hall", "--key-file", str(tmp_path / "nowhere.key")),
        ("call", INTERFACE, "--purpose", "p", "--consumer", "c", "--key-file", str(tmp_path / "nowhere.key")),
    ):
        done = _run(broker, *arguments)
        assert (done.returncode, done.stderr.count("\n")) == (6, 1)
        assert "nowhere.key: cannot be read" in done.stderr


def test_a_core_without_a_supervisor_ends_by_itself(tmp_path: Path) -> None:
    done = subprocess.run([sys.executable, "-m", "broker.serve.core"], stdin=subprocess.DEVNULL, timeout=30, check=False)
    assert done.returncode == 0


def test_a_core_that_died_of_a_memory_fault_leaves_its_cache_to_be_discarded(own: RunningBroker) -> None:
    generation = own.directory / "data" / "cache" / "generation"
    before = generation.stat().st_ino
    os.kill(own.core_pid(), signal.SIGSEGV)
    time.sleep(0.3)
    own.wait_ready()
    assert generation.stat().st_ino != before
    os.kill(own.core_pid(), signal.SIGKILL)
    before = generation.stat().st_ino
    time.sleep(0.3)
    own.wait_ready()
    assert generation.stat().st_ino == before


def test_a_crash_loop_backs_off_and_stops_on_request(own: RunningBroker) -> None:
    """After it has served, a core that cannot start again is tried again, ever more slowly, never given up."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        del taken
        os.kill(own.core_pid(), signal.SIGKILL)
    own.wait_ready()
    for _ in range(3):
        os.kill(own.core_pid(), signal.SIGKILL)
        time.sleep(0.2)
        own.wait_ready()
    assert '"pause_ms":0' in own.log_file.read_text()
    assert '"pause_ms":50' in own.log_file.read_text()
