"""Fronts as processes: what happens to consumers' calls when fronts, core and supervisor die, stop or are replaced.

What a front answers is in test_front_interop.py and test_differential.py, what it follows in test_front_follow.py, TLS in
test_front_tls.py. What must not go in here: fronts in this process.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import os
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Self

import grpc
import pytest
from aiohttp import web

from broker.client import CallFailed, TokenSource, decode
from broker.v1 import admin_pb2
from broker.v1.admin_pb2_grpc import AdminServiceStub
from broker.v1.exchange_pb2 import CallRequest, CallResponse
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub
from tests.support.calling import WHO, ask, put
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, catalogue
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually, wait_until
from tests.test_mtls import Site

SLOW = resident_id(2)  # whom the provider takes a second for
_serials = itertools.count(100)


@pytest.fixture
def make(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[..., RunningBroker]]:
    """Makes brokers with settings of their own, which the test starts."""
    made: list[RunningBroker] = []

    def one(**settings: str) -> RunningBroker:
        made.append(RunningBroker(tmp_path_factory.mktemp("f"), **settings))
        return made[-1]

    yield one
    for broker in made:
        broker.kill()


@pytest.fixture(scope="module")
def lasting(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """Two fronts, and a supervisor that never tires of restarting."""
    settings = {"BROKER__GRPC__FRONTS": "2", "BROKER__SUPERVISOR__HEALTHY_AFTER_MS": "1"}
    broker = RunningBroker(tmp_path_factory.mktemp("l"), **settings)
    broker.start()
    yield broker
    broker.kill()


@pytest.fixture
async def two(lasting: RunningBroker, register: Register) -> AsyncIterator[RunningBroker]:
    """The same broker with both fronts there, and a catalogue around the register in which a slow person is."""
    wait_until(lambda: len(lasting.fronts()) == 2)
    lasting.wait_ready()
    register.add(WHO, "张三")
    register.behaviour = _slowly
    await put(lasting, register)
    yield lasting


async def _slowly(register: Register, who: str) -> web.Response:
    await asyncio.sleep(1 if who == SLOW else 0)
    known = register.people.get(who, {"GMSFHM": who, "XM": "李四", "CSRQ": "1980-01-01"})
    return web.json_response({"code": "0", "data": known})


class Load:
    """Callers of plain grpc.aio who ask again and again for what is cached, each over a connection of its own."""

    def __init__(self, broker: RunningBroker, steady: int, coming: int = 0, **more: Any) -> None:
        """So many that stay connected, and so many that connect anew for each call."""
        self._open = more.get("open") or (lambda options: grpc.aio.insecure_channel(broker.target, options=options))
        self._token = ("authorization", f"Bearer {TokenSource(CONSUMER, broker.key_file)()}")
        self._kinds = [False] * steady + [True] * coming
        self._stop = asyncio.Event()
        self.answered = [0] * len(self._kinds)
        self.failures: list[tuple[int, float, CallFailed]] = []  # whose, and when

    def channel(self) -> grpc.aio.Channel:
        return self._open((("grpc.use_local_subchannel_pool", 1), ("grpc.initial_reconnect_backoff_ms", 100)))

    async def one(self, channel: grpc.aio.Channel, who: str = WHO, timeout_s: float = 5) -> CallResponse:
        stub: Any = ExchangeServiceStub(channel)
        asked = CallRequest(interface=INTERFACE, arguments={"resident_id": who}, purpose=PURPOSE)
        try:
            return await stub.Call(asked, timeout=timeout_s, metadata=(self._token,))
        except grpc.aio.AioRpcError as error:
            raise decode(error) from None

    async def _caller(self, number: int, comes_anew: bool) -> None:
        while not self._stop.is_set():
            async with self.channel() as channel:
                while not self._stop.is_set():
                    try:
                        await self.one(channel)
                        self.answered[number] += 1
                    except CallFailed as failure:
                        self.failures.append((number, time.monotonic(), failure))
                    await asyncio.sleep(0.002)
                    if comes_anew:
                        break

    @property
    def codes(self) -> set[str]:
        return {failure.code.name for _, _, failure in self.failures}

    async def goes_on(self, calls: int = 20) -> None:
        """Wait until every caller has been answered so many times more."""
        enough = [count + calls for count in self.answered]
        await eventually(lambda: _now(all(now >= then for now, then in zip(self.answered, enough, strict=True))))

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._caller(*kind)) for kind in enumerate(self._kinds)]
        await self.goes_on()
        return self

    async def __aexit__(self, *_: object) -> None:
        self._stop.set()
        await asyncio.gather(*self._tasks)


async def _now(value: bool) -> bool:
    return value


def _told(broker: RunningBroker, event: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in broker.log_file.read_text().splitlines()]
    return [line for line in lines if line["event"] == event]


def _readiness(broker: RunningBroker) -> int:
    try:
        return int(urllib.request.urlopen(f"http://{broker.admin}/readyz", timeout=2).status)
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return 0


def natively(broker: RunningBroker) -> float:
    """How many answers fronts have given themselves, once they and the page agree on it."""
    lines = broker.metrics().splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("broker_front_handling_seconds_count ")))


async def _in_thread(condition: Callable[[], Any]) -> None:
    await asyncio.to_thread(wait_until, condition)


async def _rolled(broker: RunningBroker) -> None:
    """Replace the fronts, and wait until every old one has ended."""
    old = set(broker.fronts())
    broker.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
    await _in_thread(lambda: len(now := set(broker.fronts())) == len(old) and not now & old and _readiness(broker) == 200)


# --- fronts that die or are replaced -----------------------------------------------------------------------------------


async def test_a_killed_front_is_replaced_at_once(make: Callable[..., RunningBroker], register: Register) -> None:
    broker = make()
    broker.apply(catalogue(register.base_url, broker.public_key))
    broker.start()
    register.behaviour = _slowly
    async with Load(broker, 4) as load, load.channel() as channel:
        in_flight = asyncio.create_task(load.one(channel, SLOW))
        await _in_thread(lambda: register.asked[SLOW])
        (front,) = broker.fronts()
        began = time.monotonic()
        os.kill(front, signal.SIGKILL)
        await _in_thread(lambda: front not in broker.fronts())
        async with broker.client() as client:
            await ask(client, timeout_s=10)
        outage_s = time.monotonic() - began
        print(f"answered again {outage_s:.2f} s after the kill")  # noqa: T201
        with pytest.raises(CallFailed, match="UNAVAILABLE"):
            await in_flight
        await load.goes_on()
    assert outage_s < 3
    assert load.codes <= {"UNAVAILABLE"}
    callers = [number for number, _, _ in load.failures]
    assert len(callers) == len(set(callers)), "nobody has lost more than the one call that was in flight"


async def test_one_of_two_fronts_killed_costs_the_calls_in_flight_there_and_no_connection(two: RunningBroker) -> None:
    host, port = two.target.split(":")
    connected = 0
    async with Load(two, 6, coming=3) as load:
        for _ in range(2):
            kills, front = time.monotonic(), two.fronts()[0]
            os.kill(front, signal.SIGKILL)
            for _ in range(40):
                socket.create_connection((host, int(port)), timeout=2).close()  # refused, this would raise
                connected += 1
                await asyncio.sleep(0.005)
            callers = [number for number, at, _ in load.failures if at >= kills]
            assert len(callers) == len(set(callers)), "nobody has lost more than the one call that was in flight"
            await _in_thread(lambda gone=front: len(now := two.fronts()) == 2 and gone not in now)
            await _in_thread(lambda: _readiness(two) == 200)
        await load.goes_on()
    assert connected == 80
    assert load.codes <= {"UNAVAILABLE"}


def test_all_fronts_accept_from_one_socket(two: RunningBroker) -> None:
    host, port = two.target.split(":")
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    listening = [row[9] for row in rows if row[3] == "0A" and row[1].endswith(f":{int(port):04X}")]
    assert len(listening) == 1
    for pid in two.fronts():
        held = {str(one.readlink()) for one in Path(f"/proc/{pid}/fd").iterdir()}
        assert f"socket:[{listening[0]}]" in held
    with socket.socket() as other, pytest.raises(OSError, match="in use"):
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        other.bind((host, int(port)))


async def test_fronts_are_replaced_again_and_again_and_no_call_fails(two: RunningBroker, register: Register) -> None:
    async with Load(two, 6, coming=2) as load, load.channel() as channel:
        for number in range(3):
            slow = asyncio.create_task(load.one(channel, SLOW))
            await _in_thread(lambda number=number: register.asked[SLOW] == number + 1)
            await _rolled(two)
            assert (await slow).provenance.interface == INTERFACE
            await two.purge(all=True)
            await load.goes_on()
    assert load.failures == []


async def test_replacements_that_overlap_leave_a_broker_that_is_ready(make: Callable[..., RunningBroker]) -> None:
    """While the first front serves on for a while, the second one is replaced by a third."""
    broker = make(BROKER__GRPC__DRAIN_MS="1500")
    broker.start()
    for _ in range(2):
        before = len(_told(broker, "front replaced"))
        broker.process.send_signal(signal.SIGHUP)  # type: ignore[union-attr]
        wait_until(lambda before=before: len(_told(broker, "front replaced")) > before)
    wait_until(lambda: len(broker.fronts()) == 1)
    assert _readiness(broker) == 200


async def test_a_front_that_does_not_stop_is_killed(make: Callable[..., RunningBroker]) -> None:
    broker = make(BROKER__GRPC__GRACE_MS="100")
    broker.start()
    (stuck,) = broker.fronts()
    os.kill(stuck, signal.SIGSTOP)
    await _rolled(broker)
    (stuck,) = broker.fronts()
    os.kill(stuck, signal.SIGSTOP)
    began = time.monotonic()
    assert broker.stop() == 0
    print(f"stopped in {time.monotonic() - began:.2f} s")  # noqa: T201
    assert not Path(f"/proc/{stuck}").exists()


def test_fronts_that_cannot_start_are_tried_ever_more_slowly_and_are_no_hindrance(make: Callable[..., RunningBroker]) -> None:
    broker = make()
    obstacle = broker.directory / "data" / "fronts"
    obstacle.parent.mkdir()
    obstacle.write_text("where a directory is to be")
    with broker.log_file.open("ab") as log:
        environment = {**os.environ, **broker.environment}
        broker.process = subprocess.Popen(broker.command("serve"), stderr=log, env=environment)
    wait_until(lambda: '"event":"front died"' in broker.log_file.read_text())
    assert _readiness(broker) == 503, "there is a core and nobody to take connections"
    wait_until(lambda: broker.log_file.read_text().count('"event":"front died"') >= 3)
    told = [json.loads(line) for line in broker.log_file.read_text().splitlines() if '"event":"front died"' in line]
    assert [(line["pause_ms"], line["exit_code"]) for line in told[:3]] == [(0, 5), (50, 5), (100, 5)]
    obstacle.unlink()
    broker.wait_ready()
    obstacle.rename(obstacle.with_name("kept"))
    obstacle.write_text("")
    os.kill(broker.fronts()[0], signal.SIGKILL)
    wait_until(lambda: broker.log_file.read_text().count('"event":"front died"') >= 5)
    began = time.monotonic()
    assert broker.stop() == 0
    assert time.monotonic() - began < 3


# --- a core that dies or stands still ----------------------------------------------------------------------------------


async def test_hits_outlive_the_core_and_other_calls_are_told_when_to_ask_again(two: RunningBroker) -> None:
    async with Load(two, 4) as load, load.channel() as channel:
        served = len(_told(two, "core serves"))
        os.kill(two.core_pid(), signal.SIGKILL)
        await load.goes_on(100)
        with pytest.raises(CallFailed) as failure:
            await load.one(channel, resident_id(next(_serials)))
        assert len(_told(two, "core serves")) == served, "all this was without a core"
        await _in_thread(lambda: len(_told(two, "core serves")) > served)
        began = time.monotonic()
        await eventually(lambda: _answers(load, channel))
        print(f"relayed again {time.monotonic() - began:.2f} s after the core served")  # noqa: T201
        assert time.monotonic() - began < 3
        await load.goes_on()
    assert load.failures == []
    told = failure.value
    assert (told.code.name, told.reason, told.origin) == ("UNAVAILABLE", "CORE_UNAVAILABLE", "BROKER")
    assert told.retry_after_s == 1


async def _answers(load: Load, channel: grpc.aio.Channel) -> bool:
    with contextlib.suppress(CallFailed):
        return bool(await load.one(channel, resident_id(next(_serials))))
    return False


async def test_a_core_that_stands_still_does_not_hold_up_hits(two: RunningBroker) -> None:
    async with Load(two, 4) as load, load.channel() as channel:
        core = two.core_pid()
        os.kill(core, signal.SIGSTOP)
        try:
            waiting = asyncio.create_task(load.one(channel, resident_id(next(_serials)), timeout_s=20))
            await load.goes_on(100)
            assert not waiting.done()
        finally:
            os.kill(core, signal.SIGCONT)
        await waiting
    assert load.failures == []


async def test_a_drained_broker_refuses_hits_too(make: Callable[..., RunningBroker], register: Register) -> None:
    broker = make()
    broker.start()
    register.add(WHO, "张三")
    await put(broker, register)
    async with Load(broker, 1) as load, load.channel() as channel:
        await _in_thread(lambda: natively(broker) > 0)
        async with grpc.aio.insecure_channel(f"unix:{broker.config.path(broker.config.admin.socket)}") as admin:
            stub: Any = AdminServiceStub(admin)
            await stub.Drain(admin_pb2.DrainRequest())
        with pytest.raises(CallFailed) as failure:
            await load.one(channel)
    assert (failure.value.code.name, failure.value.reason) == ("UNAVAILABLE", "DRAINING")


# --- start, stop, and what it costs ------------------------------------------------------------------------------------


def test_a_supervisor_killed_hard_takes_its_fronts_with_it(make: Callable[..., RunningBroker]) -> None:
    broker = make(BROKER__GRPC__FRONTS="2")
    broker.start()
    workers = broker.workers()
    assert len(broker.fronts()) == 2
    broker.stop(signal.SIGKILL)
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers))


@pytest.mark.parametrize("setting", ["GRPC__ADDRESS", "GRPC__TLS__TOKEN_ADDRESS"])
def test_a_port_that_is_taken_is_one_line_and_an_exit_code(make: Callable[..., RunningBroker], setting: str) -> None:
    broker = make()
    issued = Site(broker.directory / "site").server
    files = {"BROKER__GRPC__TLS__CERTIFICATE_FILE": issued.file, "BROKER__GRPC__TLS__KEY_FILE": issued.key_file}
    files["BROKER__GRPC__TLS__CLIENT_CA_FILE"] = broker.directory / "site" / "clients.pem"
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        settings = {name: str(file) for name, file in files.items()} | {f"BROKER__{setting}": address}
        done = broker.run("serve", **settings, BROKER__LOG__LEVEL="error")
    assert done.returncode == 4
    assert done.stderr == f"broker: {setting.lower().replace('__', '.')}: cannot listen on {address} (Address already in use)\n"


async def test_without_fronts_the_core_takes_the_calls(make: Callable[..., RunningBroker], register: Register) -> None:
    broker = make(BROKER__GRPC__FRONTS="0")
    broker.start()
    register.add(WHO, "张三")
    await put(broker, register)
    async with broker.client() as client:
        assert [(await ask(client)).provenance.source for _ in range(2)] == ["UPSTREAM", "CACHE"]
    assert broker.fronts() == []
    assert natively(broker) == 0


def test_a_front_is_small(two: RunningBroker) -> None:
    for pid in two.fronts():
        lines = dict(line.split(":", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
        resident, own = (int(lines[name].split()[0]) / 1024 for name in ("VmRSS", "RssAnon"))
        print(f"a front: {resident:.1f} MiB resident, {own:.1f} MiB of it its own")  # noqa: T201
        assert own < 80
