"""What happens to processes: killed cores and spares, second instances, stops."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from broker import config
from broker.cache.store import CacheStore
from broker.client import CallFailed, TokenSource, decode
from broker.serve.core import Core
from broker.v1 import exchange_pb2 as pb
from tests.support.calling import ask, put
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, catalogue, interface
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker, wait_until

WHO = resident_id(1)
SPARED = {"BROKER__SUPERVISOR__SPARE_CORE": "true"}
RAW_CALL = "/broker.v1.ExchangeService/Call"


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A broker that only this test kills."""
    running = RunningBroker(tmp_path_factory.mktemp("s"), **SPARED)
    running.start()
    yield running
    running.kill()


@pytest.fixture
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningBroker]]:
    """Makes brokers with settings of their own, which the test starts."""
    made: list[RunningBroker] = []

    def one(**settings: str) -> RunningBroker:
        made.append(RunningBroker(tmp_path_factory.mktemp("m"), **SPARED | settings))
        return made[-1]

    yield one
    for broker in made:
        broker.kill()


def _alive(pids: list[int]) -> list[int]:
    return [pid for pid in pids if Path(f"/proc/{pid}").exists()]


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
    second = own.run("serve")
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


async def test_a_stop_under_load_cancels_nobody(own: RunningBroker, register: Register) -> None:
    """Whoever asks while the broker stops is answered or told to ask again, on a channel that does not retry by itself."""
    register.add(WHO, "张三")
    await own.put(catalogue(register.base_url, own.public_key))
    token = ("authorization", f"Bearer {TokenSource(CONSUMER, own.key_file)()}")
    failures: list[CallFailed] = []
    answered = 0
    stop = asyncio.Event()

    async def ask(channel: grpc.aio.Channel, who: str) -> None:
        nonlocal answered
        request = pb.CallRequest(interface=INTERFACE, arguments={"resident_id": who}, purpose=PURPOSE)
        try:
            await channel.unary_unary(RAW_CALL)(request.SerializeToString(), metadata=(token,), timeout=10)
            answered += 1
        except grpc.aio.AioRpcError as error:
            failures.append(decode(error))

    async def load() -> None:
        own_connection = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0))
        async with grpc.aio.insecure_channel(own.target, options=own_connection) as channel:
            while not stop.is_set():
                await ask(channel, WHO)
                await asyncio.sleep(0.001)

    async with grpc.aio.insecure_channel(own.target) as channel:
        await ask(channel, WHO)
        callers = [asyncio.create_task(load()) for _ in range(8)]
        register.delay_s = 1.0
        slow = asyncio.create_task(ask(channel, resident_id(2)))
        await asyncio.sleep(0.3)
        assert failures == []
        assert await asyncio.to_thread(own.stop) == 0
        await slow
        stop.set()
        await asyncio.gather(*callers)
    assert register.asked[resident_id(2)] == 1
    assert {failure.code.name for failure in failures} == {"UNAVAILABLE"}
    refused = [failure for failure in failures if failure.reason]
    assert {(failure.reason, failure.origin) for failure in refused} <= {("DRAINING", "BROKER")}
    assert answered > 8


def test_a_stop_leaves_no_process_behind(own: RunningBroker) -> None:
    workers = own.workers()
    assert own.stop(signal.SIGINT) == 0
    assert _alive(workers) == []


def test_a_supervisor_killed_hard_takes_its_workers_with_it(own: RunningBroker) -> None:
    workers = own.workers()
    own.stop(signal.SIGKILL)
    assert own.run("serve").returncode == 7, "nobody starts beside a core that is still there"
    wait_until(lambda: not _alive(workers))
    own.start()


def _descriptors(broker: RunningBroker) -> int:
    assert broker.process is not None
    return len(list(Path(f"/proc/{broker.process.pid}/fd").iterdir()))


def test_spares_that_die_hurt_nobody(make: Callable[..., RunningBroker]) -> None:
    broker = make(BROKER__SUPERVISOR__BACKOFF_MAX_MS="100")
    broker.start()
    core, spare = broker.core_pid(), broker.spare_pid()
    time.sleep(0.2)  # starting a process takes some descriptors for a moment
    before = _descriptors(broker)
    for _ in range(10):
        os.kill(spare, signal.SIGKILL)
        wait_until(lambda gone=spare: gone not in broker.cores())
        spare = broker.spare_pid()
    wait_until(lambda: _descriptors(broker) <= before)
    assert broker.core_pid() == core
    assert 'broker_worker_restarts{worker="core"} 0.0' in broker.metrics()
    assert [line["pause_ms"] for line in _told(broker, "spare died")] == [0, 50, *[100] * 8]
    assert broker.stop() == 0


def test_a_system_that_has_nothing_left_for_a_process_does_not_end_the_supervisor(own: RunningBroker) -> None:
    assert own.process is not None
    core, spare = own.core_pid(), own.spare_pid()
    time.sleep(0.2)  # starting a process takes some descriptors for a moment
    before = _descriptors(own)
    _, hard = limits = resource.prlimit(own.process.pid, resource.RLIMIT_NOFILE)
    resource.prlimit(own.process.pid, resource.RLIMIT_NOFILE, (3, hard))
    os.kill(spare, signal.SIGKILL)
    wait_until(lambda: own.cores() == [core] and _told(own, "no process can be started; trying again"))
    own.wait_ready()
    os.kill(core, signal.SIGKILL)
    wait_until(lambda: not own.cores())
    time.sleep(0.3)  # for some attempts at a core
    resource.prlimit(own.process.pid, resource.RLIMIT_NOFILE, limits)
    own.wait_ready()
    own.spare_pid()
    wait_until(lambda: _descriptors(own) <= before)
    assert len(_told(own, "no process can be started; trying again")) == 1
    assert own.stop() == 0


def _told(broker: RunningBroker, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in broker.log_file.read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def test_a_broker_without_a_spare_replaces_its_core_too(make: Callable[..., RunningBroker]) -> None:
    broker = make(BROKER__SUPERVISOR__SPARE_CORE="false")
    broker.start()
    core = broker.core_pid()
    time.sleep(0.2)
    assert broker.cores() == [core]
    os.kill(core, signal.SIGKILL)
    wait_until(lambda: broker.cores() != [core])
    broker.wait_ready()
    assert broker.stop() == 0


def test_a_core_that_does_not_stop_is_killed(make: Callable[..., RunningBroker]) -> None:
    broker = make(BROKER__GRPC__GRACE_MS="100")
    broker.start()
    workers = [broker.core_pid(), broker.spare_pid()]
    os.kill(workers[0], signal.SIGSTOP)
    assert broker.stop() == 0
    assert _alive(workers) == []
    assert [line["why"] for line in _told(broker, "core killed")] == ["the core has not stopped in time"]


def test_a_core_that_does_not_stop_is_killed_when_told_again(make: Callable[..., RunningBroker]) -> None:
    broker = make(BROKER__GRPC__GRACE_MS="600000")
    broker.start()
    assert broker.process is not None
    core = broker.core_pid()
    os.kill(core, signal.SIGSTOP)
    broker.process.send_signal(signal.SIGTERM)
    time.sleep(0.5)
    assert _alive([core]) == [core], "one signal is a graceful stop"
    assert broker.stop() == 0
    assert _alive([core]) == []


@pytest.mark.parametrize("after_s", [0, 0.1, 0.3])
async def test_ctrl_c_stops_everything_once_and_gracefully(
    make: Callable[..., RunningBroker], register: Register, after_s: float
) -> None:
    broker = make()
    broker.apply(catalogue(register.base_url, broker.public_key))
    register.delay_s = 0.5
    broker.start(process_group=0)
    assert broker.process is not None
    async with broker.client() as client:
        call = asyncio.create_task(client.call(INTERFACE, {"resident_id": WHO}, purpose=PURPOSE))
        await asyncio.to_thread(wait_until, lambda: register.calls)
        await asyncio.sleep(after_s)
        workers = broker.workers()
        os.killpg(broker.process.pid, signal.SIGINT)  # what a terminal does
        assert await asyncio.to_thread(broker.process.wait, 15) == 0
        assert not (await call).found
    assert _alive(workers) == []
    assert "Traceback" not in broker.log_file.read_text()
    broker.process = None


def test_a_name_is_listened_on_at_each_of_its_addresses(make: Callable[..., RunningBroker]) -> None:
    broker = make()
    port = broker.target.rpartition(":")[2]
    broker.environment["BROKER__GRPC__ADDRESS"] = f"localhost:{port}"
    broker.start()
    reached = 0
    for family, _, _, _, where in socket.getaddrinfo("localhost", int(port), type=socket.SOCK_STREAM):
        with socket.socket(family) as probe, contextlib.suppress(OSError):
            probe.bind((where[0], 0))  # an address that this machine has
            probe.connect(where)
            reached += probe.getpeername() == where
    assert reached >= 1
    assert broker.stop() == 0


async def test_the_cache_is_kept_whatever_goes_wrong(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both chores fail each time that it is their turn; the turns go on."""
    turns: list[str] = []

    def fail(what: str) -> Any:
        def run(*_: object) -> None:
            turns.append(what)
            if len(turns) > 1 or what == "check_readers":
                raise OSError(what)

        return run

    monkeypatch.setattr(CacheStore, "sweep", fail("sweep"))
    monkeypatch.setattr(CacheStore, "check_readers", fail("check_readers"))
    core = Core(config.load(None, {"BROKER__DATA_DIR": str(tmp_path), "BROKER__CACHE__READER_CHECK_S": "1"}), 0)
    keeping = asyncio.create_task(core._keep_cache())
    await asyncio.to_thread(wait_until, lambda: turns.count("sweep") == 3 or keeping.done())
    assert not keeping.done()
    assert turns[:2] == ["sweep", "check_readers"]
    keeping.cancel()
    await core._close()


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


@pytest.mark.parametrize("fronts", ["0", "1"])
async def test_a_retry_of_what_has_a_side_effect_is_refused(
    make: Callable[..., RunningBroker], register: Register, fronts: str
) -> None:
    """The core dies after the provider was asked; the client's library retries, and the broker knows it for a retry."""
    broker = make(BROKER__GRPC__FRONTS=fronts)
    broker.start()
    register.add(WHO, "张三")
    await put(broker, register, interfaces=(interface(freshness={}, side_effect=True),))
    register.delay_s = 1.0
    await asyncio.to_thread(broker.await_spare)
    async with broker.client() as client:
        call = asyncio.create_task(ask(client))
        await asyncio.to_thread(wait_until, lambda: register.calls == 1)
        os.kill(broker.core_pid(), signal.SIGKILL)
        with pytest.raises(CallFailed) as refusal:
            await call
    assert refusal.value.reason == "OUTCOME_UNKNOWN"
    assert register.calls == 1
