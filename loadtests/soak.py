"""`make soak`: a broker with two fronts under a mixed load, while fronts and core are killed and replaced again and again.

Every call knows what may come of it. A failure is one of ours unless the call was cancelled, had a short deadline, or was
UNAVAILABLE within `GRACE_S` after a kill; a rolling restart excuses nothing. In the end everything that was opened must be
closed. What must not go in here: what a day of a city looks like (qiqihar2018.py), and how fast the broker is (bench/).
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import gc
import json
import os
import random
import signal
import statistics
import sys
import tempfile
import time
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import grpc
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from broker.client import TokenSource
from broker.v1 import admin_pb2
from broker.v1 import exchange_pb2 as pb
from broker.v1.admin_pb2_grpc import AdminServiceStub
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub
from tests.attack_kit import CALL, CANCEL, END_STREAM, RST_STREAM, Peer, fields_of, headers, message, raw
from tests.attack_kit import DATA as DATA_FRAME
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, catalogue
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker, wait_until

CLIENTS = 16
HOT = 200  # people whom everybody asks for
PROVIDER_S = 0.01
GRACE_S = 2.0  # after a kill
TIMEOUT_S = 5.0
SHORT_S = 0.008
ROLL_EVERY_S, KILL_EVERY_S = 30.0, 60.0
FRONT_ANON_MIB = 80
WARM_S = 5.0  # of a process, before its memory says anything
_KINDS = {"hit": 60, "miss": 14, "refused": 9, "invalid": 3, "cancelled": 7, "short": 4, "dropped": 2, "reset": 1}
_MAY_FAIL = {
    "refused": "PERMISSION_DENIED",
    "invalid": "INVALID_ARGUMENT",
    "cancelled": "CANCELLED",
    "short": "DEADLINE_EXCEEDED",
}
_OWN_CONNECTION = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.initial_reconnect_backoff_ms", 100),
)
_BIRTHS = [f"{year}{month:02}{day:02}" for year in range(1940, 2010) for month in range(1, 13) for day in range(1, 29)]


def judge(kind: str, code: str, failed_at: float, kills: Sequence[float]) -> str:
    """Name what came of a call: as it should be, lost to a kill, or a failure of ours."""
    if code == "OK":
        return "WRONG: answered" if kind in ("refused", "invalid") else f"{kind}: answered"
    if code == _MAY_FAIL.get(kind):
        return f"{kind}: {code}"
    if code == "UNAVAILABLE" and any(0 <= failed_at - kill <= GRACE_S for kill in kills):
        return "lost to a kill"
    return f"WRONG: {kind}: {code}"


class Soak:
    """One run."""

    def __init__(self, broker: RunningBroker, register: Register, seed: int) -> None:
        self.broker, self._register = broker, register
        self._draw = random.Random(seed)
        self._tokens = TokenSource(CONSUMER, broker.key_file)
        self.outcomes: Counter[str] = Counter()
        self.examples: list[str] = []
        self.kills: list[float] = []
        self.events: Counter[str] = Counter()
        self.samples: dict[tuple[str, int], list[tuple[float, int, int, int, int]]] = defaultdict(list)
        self._misses = 0
        self._stop = asyncio.Event()

    @property
    def calls(self) -> int:
        """How many calls there have been."""
        return self.outcomes.total()

    async def run(self, seconds: float, tell: Callable[[float, int], None]) -> None:
        """Load, disturb and sample for so long."""
        for number in range(HOT):
            self._register.add(resident_id(number), f"人{number}")
        tasks = [asyncio.create_task(self._client()) for _ in range(CLIENTS)]
        tasks += [
            asyncio.create_task(self._again(ROLL_EVERY_S, ROLL_EVERY_S / 2, self._roll)),
            asyncio.create_task(self._again(KILL_EVERY_S, KILL_EVERY_S * 0.4, self._kill_front)),
            asyncio.create_task(self._again(KILL_EVERY_S, KILL_EVERY_S * 0.7, self._kill_core)),
            asyncio.create_task(self._again(1.0, 1.0, self._sample)),
        ]
        began = time.monotonic()
        while time.monotonic() - began < seconds and not any(task.done() for task in tasks):
            await asyncio.sleep(0.25)
            tell(time.monotonic() - began, self.calls)
        self._stop.set()
        await asyncio.gather(*tasks)

    # --- the load ------------------------------------------------------------------------------------------------------

    async def _client(self) -> None:
        while not self._stop.is_set():
            async with grpc.aio.insecure_channel(self.broker.target, _OWN_CONNECTION) as channel:
                stub: Any = ExchangeServiceStub(channel)
                while not self._stop.is_set():
                    kind = self._draw.choices(list(_KINDS), list(_KINDS.values()))[0]
                    if kind == "dropped":
                        self.outcomes["dropped: connection left with a call on it"] += 1
                        stub.Call(self._request(self._stranger()), timeout=TIMEOUT_S, metadata=self._metadata())
                        break
                    await self._one(stub, kind)

    async def _one(self, stub: Any, kind: str) -> None:
        if kind == "reset":
            await self._reset_some()
            return
        who = resident_id(self._draw.randrange(HOT)) if kind == "hit" or self._draw.random() < 0.3 else self._stranger()
        began = time.monotonic()
        code, said = await self._outcome(stub, kind, "bad" if kind == "invalid" else who)
        outcome = judge(kind, code, time.monotonic(), self.kills)
        if outcome.startswith("WRONG") and len(self.examples) < 10:
            ages = [round(began - kill, 3) for kill in self.kills[-2:]]
            self.examples.append(f"{outcome} after {time.monotonic() - began:.3f} s, {ages} s after kills: {said}")
        self.outcomes[outcome] += 1

    async def _outcome(self, stub: Any, kind: str, who: str) -> tuple[str, str]:
        purpose = "other" if kind == "refused" else PURPOSE
        timeout_s = self._draw.uniform(0.001, SHORT_S) if kind == "short" else TIMEOUT_S
        call = stub.Call(self._request(who, purpose), timeout=timeout_s, metadata=self._metadata())
        if kind == "cancelled":
            asyncio.get_running_loop().call_later(self._draw.uniform(0, 1.5 * PROVIDER_S), call.cancel)
        try:
            answer = await call
        except grpc.aio.AioRpcError as error:
            return error.code().name, error.details() or ""
        except asyncio.CancelledError:
            return "CANCELLED", ""
        name = json.loads(answer.payload)["name"]
        return ("OK", "") if name == self._register.people[who]["XM"] else ("ANOTHER ANSWER", f"{who}: {name}")

    def _stranger(self) -> str:
        """Somebody whom nobody has asked for."""
        self._misses += 1
        who = resident_id(self._misses % 1000, _BIRTHS[self._misses // 1000 % len(_BIRTHS)])
        self._register.add(who, f"生{self._misses}")
        return who

    def _request(self, who: str, purpose: str = PURPOSE) -> pb.CallRequest:
        return pb.CallRequest(interface=INTERFACE, arguments={"resident_id": who}, purpose=purpose)

    def _metadata(self) -> tuple[tuple[str, str], ...]:
        return (("authorization", f"Bearer {self._tokens()}"),)

    async def _reset_some(self) -> None:
        """A few streams reset at once, some before and some behind their last byte, on a connection of their own."""
        fields = fields_of(CALL, *self._metadata())
        bodies = [message(self._request(who).SerializeToString()) for who in (resident_id(0), self._stranger())]
        try:
            await asyncio.to_thread(_reset, self.broker.target, fields, bodies)
        except (OSError, AssertionError) as error:  # Peer says by the latter that nobody greets it
            outcome = judge("reset", "UNAVAILABLE", time.monotonic(), self.kills)
            self.outcomes[outcome] += 1
            self.examples += [repr(error)] if outcome.startswith("WRONG") else []
        else:
            self.outcomes["reset: some streams"] += 1

    # --- what happens to the broker ------------------------------------------------------------------------------------

    async def _again(self, every_s: float, first_s: float, do: Callable[[], Awaitable[None] | None]) -> None:
        next_at = time.monotonic() + first_s
        while not self._stop.is_set():
            if time.monotonic() >= next_at:
                next_at += every_s
                done = do()
                if done is not None:
                    await done
            await asyncio.sleep(0.05)

    def _roll(self) -> None:
        assert self.broker.process is not None
        self.broker.process.send_signal(signal.SIGHUP)
        self.events["rolling restarts"] += 1

    def _kill_front(self) -> None:
        if fronts := self.broker.fronts():
            self._kill("fronts killed", self._draw.choice(fronts))

    def _kill_core(self) -> None:
        self._kill("cores killed", self.broker.core_pid())

    def _kill(self, what: str, pid: int) -> None:
        self.kills.append(time.monotonic())
        os.kill(pid, signal.SIGKILL)
        self.events[what] += 1

    def _sample(self) -> None:
        with contextlib.suppress(StopIteration, OSError):  # between two cores
            self._look("core", self.broker.core_pid())
        for pid in self.broker.fronts():
            self._look("front", pid)

    def _look(self, role: str, pid: int) -> None:
        with contextlib.suppress(OSError, StopIteration):  # it has ended while we look
            descriptors = len(list(Path(f"/proc/{pid}/fd").iterdir()))
            memory = kib_of(pid, "VmRSS"), kib_of(pid, "RssAnon")
            self.samples[role, pid].append((time.monotonic(), self.calls, *memory, descriptors))


def _reset(target: str, fields: list[Any], bodies: list[bytes]) -> None:
    with Peer(target) as peer:
        peer.greet()
        for number in range(6):
            stream, body = 2 * number + 1, bodies[number % len(bodies)]
            sent = headers(stream, fields) + (raw(DATA_FRAME, END_STREAM, stream, body) if number % 3 else b"")
            peer.send(sent + raw(RST_STREAM, 0, stream, CANCEL.to_bytes(4, "big")))


def kib_of(pid: int, name: str) -> int:
    """Return a number of /proc/PID/status."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith(f"{name}:")).split()[1])


# --- what is left, and what it comes to --------------------------------------------------------------------------------


def metric(broker: RunningBroker, name: str) -> float:
    """Return a metric that has no labels."""
    return next(float(line.split()[1]) for line in broker.metrics().splitlines() if line.startswith(f"{name} "))


async def left_behind(broker: RunningBroker) -> dict[str, float]:
    """Look what is still open once every client has left, with some patience."""
    until = time.monotonic() + 10
    while True:
        gc.collect()  # a channel of grpc stays connected, though closed, for as long as one of its calls is held
        async with grpc.aio.insecure_channel(f"unix:{broker.config.path(broker.config.admin.socket)}") as channel:
            stub: Any = AdminServiceStub(channel)
            status = await stub.GetStatus(admin_pb2.GetStatusRequest())
        left = {
            "connections to fronts": metric(broker, "broker_front_connections"),
            "calls in fronts": metric(broker, "broker_front_calls"),
            "calls in the core": float(status.in_progress),
        }
        if not any(left.values()) or time.monotonic() > until:
            return left
        await asyncio.sleep(0.1)


def kib_per_million(samples: Sequence[tuple[float, int, int, int, int]]) -> float | None:
    """Return how the private memory of one process grew with the calls, once it was warm."""
    warm = [(calls, anon) for at, calls, _, anon, _ in samples if at - samples[0][0] >= WARM_S]
    if len(warm) < 5 or warm[0][0] == warm[-1][0]:
        return None
    return statistics.linear_regression(*zip(*warm, strict=True)).slope * 1e6


def memory_of(soak: Soak, role: str) -> dict[str, float | None]:
    """Sum up the samples of all processes of one role."""
    lives = [samples for (what, _), samples in soak.samples.items() if what == role]
    each = [one for samples in lives for one in samples]
    slopes = [slope for samples in lives if (slope := kib_per_million(samples)) is not None]
    return {
        "processes": len(lives),
        "rss_max_mib": max((one[2] for one in each), default=0) / 1024,
        "anon_max_mib": max((one[3] for one in each), default=0) / 1024,
        "anon_last_mib": lives[-1][-1][3] / 1024 if lives else 0,
        "anon_slope_mib_per_million_calls": statistics.median(slopes) / 1024 if slopes else None,
        "descriptors_max": max((one[4] for one in each), default=0),
    }


def problems(soak: Soak, left: dict[str, float], descriptors: tuple[int, int]) -> list[str]:
    """Name every rule that was broken."""
    found = [f"{count} times {outcome}" for outcome, count in soak.outcomes.items() if outcome.startswith("WRONG")]
    found += [f"{count:g} {what} left when every client had gone" for what, count in left.items() if count]
    if descriptors[1] > descriptors[0]:
        found.append(f"fronts hold {descriptors[1]} descriptors, {descriptors[0]} before the load")
    anon = memory_of(soak, "front")["anon_max_mib"] or 0
    if anon > FRONT_ANON_MIB:
        found.append(f"a front had {anon:.0f} MiB of its own, {FRONT_ANON_MIB} are allowed")
    if not soak.outcomes["hit: answered"] or not soak.outcomes["miss: answered"]:
        found.append("nothing was answered, so nothing was seen")
    return found


def _follows(pid: int) -> bool:
    """Whether a front has opened the cache, which it does last; until then it passes everything on."""
    opened = {link.readlink().parts[-2:] for link in Path(f"/proc/{pid}/fd").iterdir()}
    return {("cache", "data.mdb"), ("cache", "lock.mdb")} <= opened


def _descriptors(broker: RunningBroker) -> int:
    return max(len(list(Path(f"/proc/{pid}/fd").iterdir())) for pid in broker.fronts())


async def _measure(directory: Path, arguments: argparse.Namespace, console: Console) -> dict[str, Any]:
    broker = RunningBroker(
        directory, BROKER__GRPC__FRONTS="2", BROKER__LOG__LEVEL="info", BROKER__SUPERVISOR__SPARE_CORE="true"
    )
    broker.start()
    try:
        async with Register() as register:
            register.delay_s = PROVIDER_S
            await broker.put(catalogue(register.base_url, broker.public_key))
            await asyncio.to_thread(wait_until, lambda: all(map(_follows, broker.fronts())))
            before = _descriptors(broker)
            soak = Soak(broker, register, arguments.seed)
            columns = (
                TextColumn("{task.description}"),
                BarColumn(),
                TextColumn("{task.fields[calls]:,} calls"),
                TimeRemainingColumn(),
            )
            with Progress(*columns, console=console, transient=True) as progress:
                bar = progress.add_task("soak", total=arguments.seconds, calls=0)
                await soak.run(arguments.seconds, lambda at, calls: progress.update(bar, completed=at, calls=calls))
            left = await left_behind(broker)
            descriptors = before, _descriptors(broker)
            stopped = await asyncio.to_thread(broker.stop)
        found = problems(soak, left, descriptors) + ([f"the broker ended with {stopped}"] if stopped else [])
        return {
            "seconds": arguments.seconds,
            "calls": soak.calls,
            "events": dict(soak.events),
            "outcomes": dict(sorted(soak.outcomes.items())),
            "memory": {role: memory_of(soak, role) for role in ("core", "front")},
            "descriptors_of_a_front": {"before": descriptors[0], "after": descriptors[1]},
            "left_behind": left,
            "problems": found,
            "examples": soak.examples,
        }
    finally:
        if arguments.log:
            arguments.log.write_bytes(broker.log_file.read_bytes())
        broker.kill()


def show(console: Console, result: dict[str, Any]) -> None:
    """Print a run for people."""
    table = Table("what", "how much", title=f"{result['calls']:,} calls in {result['seconds']:g} s")
    for what in ("events", "outcomes"):
        for name, count in result[what].items():
            table.add_row(name, f"{count:,}")
        table.add_section()
    for role, memory in result["memory"].items():
        for name, amount in memory.items():
            table.add_row(f"{role}: {name.replace('_', ' ')}", "-" if amount is None else f"{amount:,.1f}".removesuffix(".0"))
        table.add_section()
    for name, count in {**result["descriptors_of_a_front"]}.items():
        table.add_row(f"descriptors of a front, {name}", str(count))
    for name, count in result["left_behind"].items():
        table.add_row(f"left behind: {name}", f"{count:g}")
    console.print(table)
    for line in (*result["problems"], *result["examples"]):
        console.print(f"FAILED: {line}", markup=False)


def main() -> int:
    """Run it; 1 if a rule was broken."""
    parser = argparse.ArgumentParser(prog="loadtests.soak", description=__doc__.partition("\n")[0] if __doc__ else None)
    parser.add_argument("--seconds", type=float, default=600.0)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="the result as JSON on standard output")
    parser.add_argument("--log", type=Path, help="keep the broker's log here")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="soak-") as directory:
        result = asyncio.run(_measure(Path(directory), arguments, Console(stderr=True)))
    if arguments.json:
        print(json.dumps(result, ensure_ascii=False, indent=2))
    else:
        show(Console(highlight=False, width=None if sys.stdout.isatty() else 120), result)
    return 1 if result["problems"] else 0


if __name__ == "__main__":
    raise SystemExit(main())
