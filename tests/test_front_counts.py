"""What fronts count reaches the metrics of the core: once, whatever dies, and never less than before.

What must not go in here: counting in memory that is shared (test_shared.py).
"""

from __future__ import annotations

import os
import shutil
import signal
import struct
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from broker._native.shared import BUCKET_BOUNDS_S, SUMS_BYTES
from broker.serve.board import CONNECTED, FOLLOWS, SERVES, NamedCounts, open_tally, tally_file
from broker.serve.front_counts import FrontCounts
from broker.telemetry import metrics
from tests.support.calling import NOBODY, WHO, ask, put
from tests.support.provider import Register
from tests.support.running import RunningBroker, wait_until

INTERFACE = "test.front.counts"  # of the counts in this process: nobody else has it
_GONE = (1 << 22) + 1  # no process id of this system: above the greatest that Linux gives


class Writer:
    """What a front writes into its tally."""

    def __init__(self, data_dir: Path, number: int = 0, pid: int | None = None) -> None:
        self.file = tally_file(data_dir, number)
        self.counts = NamedCounts(open_tally(self.file))
        self.counts.put(FOLLOWS, 1, os.getpid() if pid is None else pid)
        self.counts.put(SERVES, os.getpid())
        self.counts.put(CONNECTED, 1)

    def put(self, name: str, count: int, other: int = 0) -> None:
        self.counts.put(name.encode(), count, other)

    def took(self, times: dict[int, int]) -> None:
        """Write how many answers fell into which bucket."""
        buckets = [times.get(at, 0) for at in range(len(BUCKET_BOUNDS_S) + 1)]
        with self.file.open("r+b") as opened:
            opened.write(struct.pack(f"={SUMS_BYTES // 8}Q", sum(buckets), 1000 * sum(buckets), *buckets))


class Page:
    """The fronts' part of the page of one core."""

    def __init__(self, data_dir: Path) -> None:
        self.counts = FrontCounts(data_dir)
        self._registry = CollectorRegistry()
        self._registry.register(self.counts)
        self._before = self._calls()

    def look(self) -> dict[str, float]:
        """Absorb, and return every sample by its name and labels, with the calls that were counted since this began."""
        self.counts.absorb()
        families = text_string_to_metric_families(generate_latest(self._registry).decode())
        found = {
            "".join((sample.name, *(f" {value}" for value in sample.labels.values()))): sample.value
            for family in families
            for sample in family.samples
        }
        return found | {outcome: count - self._before[outcome] for outcome, count in self._calls().items()}

    @staticmethod
    def _calls() -> dict[str, float]:
        labels = {outcome: ("NATIONAL", INTERFACE, outcome, "CACHE") for outcome in ("FOUND", "NOT_FOUND")}
        return {outcome: metrics.calls.labels(*label)._value.get() for outcome, label in labels.items()}


@pytest.fixture
def page(tmp_path: Path) -> Page:
    return Page(tmp_path)


def test_what_is_counted_is_added_once(tmp_path: Path, page: Page) -> None:
    writer = Writer(tmp_path)
    writer.put(f"calls/NATIONAL/{INTERFACE}", 5, 2)
    writer.put("front/relayed", 7)
    for _ in range(3):
        seen = page.look()
        assert (seen["FOUND"], seen["NOT_FOUND"], seen["broker_front_relayed_total"]) == (5, 2, 7)
    writer.put(f"calls/NATIONAL/{INTERFACE}", 6, 4)
    seen = page.look()
    assert (seen["FOUND"], seen["NOT_FOUND"]) == (6, 4)


@pytest.mark.parametrize(
    ("kind", "source", "method"),
    [
        ("calls", "CACHE", "Call"),
        ("calls-records", "RECORDS", "Call"),
        ("matches", "CACHE", "Match"),
        ("matches-records", "RECORDS", "Match"),
    ],
)
def test_answers_are_counted_by_method_and_source(tmp_path: Path, page: Page, kind: str, source: str, method: str) -> None:
    def counted() -> list[float]:
        calls = [metrics.calls.labels("CITY", INTERFACE, outcome, source) for outcome in ("FOUND", "NOT_FOUND")]
        rpc = ("unary", "broker.v1.ExchangeService", method)
        handled = [metrics.grpc_started.labels(*rpc), metrics.grpc_handled.labels(*rpc, "OK")]
        return [counter._value.get() for counter in (*calls, *handled)]

    before = counted()
    Writer(tmp_path).put(f"{kind}/CITY/{INTERFACE}", 5, 2)
    page.look()
    assert [now - old for now, old in zip(counted(), before, strict=True)] == [5, 2, 7, 7]


def test_fronts_are_added_up(tmp_path: Path, page: Page) -> None:
    for number in range(3):
        writer = Writer(tmp_path, number)
        writer.put(f"calls/NATIONAL/{INTERFACE}", 10 + number)
        writer.put("front/accepted", 100)
        writer.put("front/open", 2)
        writer.put("closed/idle", 1)
    seen = page.look()
    assert (seen["FOUND"], seen["broker_front_accepted_total"], seen["broker_front_connections"]) == (33, 300, 6)
    assert seen["broker_front_closed_total idle"] == 3


def test_no_count_goes_back_when_a_front_begins_anew(tmp_path: Path, page: Page) -> None:
    writer = Writer(tmp_path)
    writer.put("front/accepted", 50)
    writer.put("closed/idle", 9)
    assert page.look()["broker_front_accepted_total"] == 50
    anew = Writer(tmp_path)  # in the same file
    anew.put("front/accepted", 3)
    anew.put("closed/idle", 0)
    seen = page.look()
    assert (seen["broker_front_accepted_total"], seen["broker_front_closed_total idle"]) == (53, 9)
    anew.put("front/accepted", 4)
    assert page.look()["broker_front_accepted_total"] == 54


def test_what_a_dead_front_had_counted_stays_and_what_it_had_open_does_not(tmp_path: Path, page: Page) -> None:
    writer = Writer(tmp_path)
    for name in ("front/open", "front/calls", "front/unavailable", f"calls/NATIONAL/{INTERFACE}"):
        writer.put(name, 4)
    alive = page.look()
    assert (alive["broker_front_connections"], alive["broker_front_calls"]) == (4, 4)
    writer.counts.put(FOLLOWS, 1, _GONE)
    dead = page.look()
    assert (dead["broker_front_connections"], dead["broker_front_calls"]) == (0, 0)
    assert (dead["broker_front_unavailable_total"], dead["FOUND"]) == (4, 4)


def test_a_front_that_follows_nothing_yet_has_connections_too(tmp_path: Path, page: Page) -> None:
    writer = Writer(tmp_path)
    writer.counts.put(FOLLOWS, 0, os.getpid())
    writer.put("front/open", 1)
    assert page.look()["broker_front_connections"] == 1


def test_what_no_front_would_write_does_no_harm(tmp_path: Path, page: Page) -> None:
    writer = Writer(tmp_path)
    writer.put("front/relayed", 1)
    for name in (b"\xff\xfe", b"closed/\xff\x80", b"calls", b"calls/", b"nonsense/x", b'closed/a"\n{}', b"front/"):
        writer.counts.put(name, 3)
    (tmp_path / "fronts" / "junk.tally").write_bytes(b"\xff" * 100)
    (tmp_path / "fronts" / "directory.tally").mkdir()
    (tmp_path / "fronts" / "other").write_text("")
    seen = page.look()
    assert seen["broker_front_relayed_total"] == 1
    assert seen['broker_front_closed_total a"\n{}'] == 3


def test_times_are_a_histogram_over_all_fronts(tmp_path: Path, page: Page) -> None:
    Writer(tmp_path, 0).took({0: 5, 3: 1})
    Writer(tmp_path, 1).took({0: 1, len(BUCKET_BOUNDS_S): 2})
    seen = page.look()
    name = "broker_front_handling_seconds"
    assert seen[f"{name}_count"] == seen[f"{name}_bucket +Inf"] == 9
    assert seen[f"{name}_sum"] == pytest.approx(9000e-9)
    cumulative = [seen[f"{name}_bucket {bound:g}"] for bound in BUCKET_BOUNDS_S]
    assert cumulative == [6, 6, 6, *[7] * (len(BUCKET_BOUNDS_S) - 3)]


def test_without_fronts_everything_is_zero(page: Page) -> None:
    assert set(page.look().values()) == {0}


# --- as processes ------------------------------------------------------------------------------------------------------


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    settings = {"BROKER__GRPC__FRONTS": "2"}
    broker = RunningBroker(tmp_path_factory.mktemp("c"), **settings)
    broker.start()
    yield broker
    broker.kill()


def _page_of(broker: RunningBroker) -> dict[str, float]:
    families = text_string_to_metric_families(broker.metrics())
    samples = [sample for family in families for sample in family.samples]
    return {
        "".join((sample.name, *(f" {value}" for value in sample.labels.values()))): sample.value
        for sample in samples
        if sample.name.startswith("broker_")
    }


async def test_every_answer_is_counted_once_however_many_fronts_die(own: RunningBroker, register: Register) -> None:
    register.add(WHO, "张三")
    await put(own, register)
    asked = 0
    for _ in range(3):
        async with own.client() as client:
            for who in (WHO, NOBODY) * 20:
                await ask(client, who)
                asked += 1
        wait_until(lambda asked=asked: _answered(own) == asked)
        before, front = _page_of(own), own.fronts()[0]
        os.kill(front, signal.SIGKILL)
        wait_until(lambda front=front: len(now := own.fronts()) == 2 and front not in now)
        own.wait_ready()
        after = _page_of(own)
        lower = [name for name, value in before.items() if "_front_" in name and after.get(name, 0) < value]
        assert set(lower) <= {"broker_front_connections", "broker_front_calls"}
        assert _answered(own) == asked
    natively = _page_of(own)["broker_front_handling_seconds_count"]
    assert 0 < natively < asked, "both have had their part"


def _answered(broker: RunningBroker) -> float:
    page = _page_of(broker)
    return sum(count for name, count in page.items() if name.startswith("broker_calls_total "))


async def test_connections_are_told_while_they_are_open(own: RunningBroker, register: Register) -> None:
    await put(own, register)
    async with own.client() as one:
        await ask(one)
        wait_until(lambda: _page_of(own)["broker_front_connections"] == 1)
    wait_until(lambda: _page_of(own)["broker_front_connections"] == 0)
    assert _page_of(own)["broker_front_accepted_total"] >= 1


@pytest.mark.skipif(not shutil.which("promtool"), reason="prometheus is not installed (apt-get install prometheus)")
async def test_the_page_has_all_families_and_promtool_nothing_to_mend(own: RunningBroker, register: Register) -> None:
    await put(own, register)
    async with own.client() as client:
        for _ in range(5):
            await ask(client)
    page = own.metrics()
    families = {family.name for family in text_string_to_metric_families(page)}
    names = ("accepted", "calls", "closed", "connections", "handling_seconds", "relayed", "unavailable")
    assert {f"broker_front_{name}" for name in names} <= families
    done = subprocess.run(["promtool", "check", "metrics"], input=page, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
