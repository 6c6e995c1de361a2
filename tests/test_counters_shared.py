"""Counters that several processes map: what they spend together is exact, kill -9 loses what it interrupts, and the file is
made anew when it is of no use."""

from __future__ import annotations

import mmap
import random
import struct
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker._native.policy import Image
from broker.policy.counter_file import MIN_LINES, CounterFile
from tests.image_kit import NOW_MS, granted, image_of
from tests.oracle.counters import DAY_USED_UP, RATE_USED_UP, SPENT, TOTAL_USED_UP

DAY = NOW_MS // 86_400_000
S = 10**9
BOOT = "6f0e1a52-0d9c-4c37-a2b1-2f6f4c1f0a11"
HEADER_BYTES, LINE_BYTES = 64, 64
FAST = {"rate_per_second": 1_000_000.0, "burst": 1_000_000}
GRANTS = (
    granted(id="quota", quota_per_day=10**9, **FAST),
    granted(id="rate", rate_per_second=2000.0, burst=50),
    granted(id="both", quota_per_day=10**9, quota_total=10**9, **FAST),
)


class Shared:
    """An image and a file of counters that processes map, and the processes."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._image_file = directory / "image"
        self._image_file.write_bytes(image_of(*GRANTS))
        self.image = Image(self._image_file.read_bytes())
        self.refs = {self.image.term(ref)["id"]: ref for ref in self.image.terms()}
        self._open = CounterFile(directory / "counters", BOOT)
        self.counters = self._open.counters
        self._started: list[subprocess.Popen[str]] = []

    def spender(self, grant: str, calls: int, now_ns: int = 0) -> tuple[subprocess.Popen[str], Path]:
        """Start a process that is about to spend, and the file that it notes the outcomes in."""
        tally = self._directory / f"tally{len(self._started)}"
        tally.write_bytes(bytes(64))
        numbers = (str(number) for number in (self.refs[grant], DAY, now_ns, calls))
        command = [sys.executable, "-m", "tests.support.spender", str(self._image_file), str(self._directory / "counters")]
        process = subprocess.Popen([*command, str(tally), *numbers], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self._started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == "ready\n"
        return process, tally

    def close(self) -> None:
        for process in self._started:
            process.kill()
            process.communicate()
        self._open.close()


@pytest.fixture
def shared(tmp_path: Path) -> Iterator[Shared]:
    opened = Shared(tmp_path)
    yield opened
    opened.close()


def go(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("go\n")
    process.stdin.flush()


def outcomes(*tallies: Path) -> list[int]:
    """Return how often each outcome came, over processes."""
    return [sum(counts) for counts in zip(*(struct.unpack("=8Q", tally.read_bytes()) for tally in tallies), strict=True)]


# --- several processes --------------------------------------------------------------------------------------------------


def test_processes_spend_a_quota_to_the_last_call_and_not_one_more(shared: Shared) -> None:
    """Blocks come while both are spending, and the calls are more than all blocks together."""
    ref, deposited = shared.refs["quota"], 0
    (one, one_tally), (other, other_tally) = (shared.spender("quota", 400_000) for _ in range(2))
    go(one)
    go(other)
    while one.poll() is None or other.poll() is None:
        shared.counters.deposit(shared.image, ref, DAY, 100, 0)
        deposited += 100
    found = outcomes(one_tally, other_tally)
    left = shared.counters.remaining(shared.image, ref, time.monotonic_ns(), DAY)[1]
    assert left is not None
    assert found[SPENT] + left == deposited
    assert found[SPENT] + found[DAY_USED_UP] == 800_000


def test_processes_spend_a_burst_to_the_last_call_and_not_one_more(shared: Shared) -> None:
    """Time stands still."""
    spenders = [shared.spender("both", 600_000, now_ns=S) for _ in range(2)]
    shared.counters.deposit(shared.image, shared.refs["both"], DAY, 10**9, 0)
    shared.counters.deposit(shared.image, shared.refs["both"], 0, 10**9, 0)
    for process, _ in spenders:
        go(process)
    assert [process.wait() for process, _ in spenders] == [0, 0]
    found = outcomes(*(tally for _, tally in spenders))
    assert (found[SPENT], found[RATE_USED_UP]) == (1_000_000, 200_000)
    assert shared.counters.remaining(shared.image, shared.refs["both"], S, DAY) == (0, 10**9 - 10**6, 10**9 - 10**6)


def test_processes_together_never_exceed_the_burst_and_the_rate(shared: Shared) -> None:
    spenders = [shared.spender("rate", 400) for _ in range(2)]
    begun = time.monotonic_ns()
    for process, _ in spenders:
        go(process)
    assert [process.wait() for process, _ in spenders] == [0, 0]
    took = time.monotonic_ns() - begun
    found = outcomes(*(tally for _, tally in spenders))
    assert found[SPENT] == 800 <= 50 + took // (S // 2000)
    assert found[RATE_USED_UP] > 0


def test_what_is_refused_in_two_processes_at_once_is_given_back_whole(shared: Shared) -> None:
    spenders = [shared.spender("both", 50_000, now_ns=S) for _ in range(2)]
    shared.counters.deposit(shared.image, shared.refs["both"], DAY, 1000, 0)
    for process, _ in spenders:
        go(process)
    assert [process.wait() for process, _ in spenders] == [0, 0]
    assert outcomes(*(tally for _, tally in spenders))[TOTAL_USED_UP] == 100_000
    assert shared.counters.remaining(shared.image, shared.refs["both"], S, DAY) == (1_000_000, 1000, 0)


def test_kill_9_while_spending_leaves_whole_lines_and_loses_one_call_at_most(shared: Shared) -> None:
    draw, ref, spent, deposit = random.Random(3), shared.refs["both"], 0, 10**9
    shared.counters.deposit(shared.image, ref, DAY, deposit, 0)
    shared.counters.deposit(shared.image, ref, 0, deposit, 0)
    for kills in range(1, 21):
        process, tally = shared.spender("both", 10**12)
        go(process)
        while not outcomes(tally)[SPENT]:
            assert process.poll() is None
        time.sleep(draw.random() / 50)
        process.kill()
        process.wait()
        spent += outcomes(tally)[SPENT]
        burst, today, total = shared.counters.remaining(shared.image, ref, time.monotonic_ns(), DAY)
        assert today is not None
        assert total is not None
        assert 0 <= burst <= 1_000_000
        assert spent <= deposit - total <= spent + kills
        assert 0 <= total - today <= kills, "a call that was taken off the day and no further"
        assert shared.counters.lines() == (1, MIN_LINES)
    assert shared.counters.spend(shared.image, ref, time.monotonic_ns(), DAY) == (SPENT, 0)


# --- the file -----------------------------------------------------------------------------------------------------------


def test_a_file_of_this_boot_is_kept(tmp_path: Path) -> None:
    image = Image(image_of(*GRANTS))
    for expected in (49, 48, 47):
        opened = CounterFile(tmp_path / "counters", BOOT)
        opened.counters.spend(image, image.terms()[2], S, DAY)
        assert opened.counters.remaining(image, image.terms()[2], S, DAY)[0] == expected
        opened.close()


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda data: data[:12] + bytes([data[12] ^ 1]) + data[13:], id="another boot"),
        pytest.param(lambda data: b"X" + data[1:], id="no file of counters"),
        pytest.param(lambda data: data[:8] + bytes([2]) + data[9:], id="another format"),
        pytest.param(lambda data: data[:-1], id="cut short by a byte"),
        pytest.param(lambda data: data[:-LINE_BYTES], id="cut short by a line"),
        pytest.param(lambda data: data + bytes(LINE_BYTES), id="a line too long"),
        pytest.param(lambda data: data[: HEADER_BYTES + LINE_BYTES], id="a power of two, and too few"),
        pytest.param(lambda data: data[:HEADER_BYTES], id="no lines"),
        pytest.param(lambda data: data[:17], id="no header"),
        pytest.param(lambda _: b"", id="nothing"),
    ],
)
def test_a_file_that_is_damaged_or_of_another_boot_is_made_anew(tmp_path: Path, damage) -> None:
    file, image = tmp_path / "counters", Image(image_of(*GRANTS))
    opened = CounterFile(file, BOOT)
    opened.counters.spend(image, image.terms()[2], S, DAY)
    opened.close()
    file.write_bytes(damage(file.read_bytes()))
    again = CounterFile(file, BOOT)
    assert again.counters.lines() == (0, MIN_LINES)
    again.close()
    assert file.stat().st_mode & 0o777 == 0o600


def test_where_no_boot_can_be_told_from_another_nothing_is_kept(tmp_path: Path) -> None:
    image = Image(image_of(*GRANTS))
    for _ in range(2):
        opened = CounterFile(tmp_path / "counters", "")
        assert opened.counters.lines()[0] == 0
        opened.counters.spend(image, image.terms()[2], S, DAY)
        opened.close()


def fill(file: Path, lines: int) -> None:
    """Take free lines for grants that nobody has any more."""
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as mapped:
        places = range(HEADER_BYTES, len(mapped), LINE_BYTES)
        free = [at for at in places if mapped[at : at + 8] == bytes(8)]
        for at in free[:lines]:
            struct.pack_into("<Q", mapped, at, at | 1)


def test_a_file_that_fills_drops_what_is_no_longer_in_force(tmp_path: Path) -> None:
    image = Image(image_of(*GRANTS))
    opened = CounterFile(tmp_path / "counters", BOOT)
    quota, rate, _ = image.terms()
    opened.counters.deposit(image, rate, DAY, 5, 6)
    opened.counters.deposit(image, quota, DAY, 70, 80)
    opened.counters.spend(image, rate, S, DAY)
    before = [opened.counters.remaining(image, ref, S, DAY) for ref in image.terms()]
    fill(tmp_path / "counters", MIN_LINES // 2 - 100)
    opened.fit(image)
    assert opened.counters.lines()[0] > 1000, "there is room yet"
    fill(tmp_path / "counters", MIN_LINES // 2)
    opened.fit(image)
    assert opened.counters.lines() == (3, MIN_LINES)
    assert [opened.counters.remaining(image, ref, S, DAY) for ref in image.terms()] == before
    opened.close()


def test_a_file_grows_with_the_grants_and_keeps_what_was_counted(tmp_path: Path) -> None:
    few, many = (Image(image_of(*(granted(id=f"g{n}") for n in range(count)))) for count in (1, 4097))
    opened = CounterFile(tmp_path / "counters", BOOT)
    opened.counters.spend(few, few.terms()[0], S, DAY)
    opened.fit(few)
    assert opened.counters.lines() == (1, MIN_LINES)
    opened.fit(many)
    assert opened.counters.lines() == (1, 2 * MIN_LINES)
    assert opened.counters.remaining(many, many.terms()[0], S, DAY)[0] == 19
    opened.close()
    again = CounterFile(tmp_path / "counters", BOOT)
    assert again.counters.lines() == (1, 2 * MIN_LINES)
    again.close()
