"""The benchmark runner: turns, the round that is thrown away, ratios, and what is written. No test looks at the time."""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import pytest

from bench import h2load, hot_call, machine, report, runner
from bench.benchmark import Benchmark, Case, Contender, Reading, Wrong
from bench.runner import BenchmarkResult


def _contender(name: str, values: list[float], log: list[str]) -> Contender:
    left = iter(values)

    def turn() -> Reading:
        log.append(name)
        value = next(left)
        return Reading(value, {"double": value * 2})

    return Contender(name, turn)


def _run(values: dict[str, list[float]], log: list[str], *, higher_is_better: bool = True) -> BenchmarkResult:
    case = Case("only", tuple(_contender(name, own, log) for name, own in values.items()), {"keys": 3})

    @contextmanager
    def opened() -> Iterator[Iterable[Case]]:
        log.append("open")
        yield [case]
        log.append("close")

    rounds = len(values["a"]) - 1
    return runner.run("trivial", Benchmark("two lists", "things", higher_is_better, opened), rounds, lambda _: None)


def test_contenders_take_turns_within_the_set_up() -> None:
    log: list[str] = []
    _run({"a": [1, 1, 1], "b": [1, 1, 1]}, log)
    assert log == ["open", *["a", "b"] * 3, "close"]


def test_the_first_round_is_thrown_away_and_the_rest_summed_up() -> None:
    result = _run({"a": [1000, 3, 1, 2], "b": [1, 1, 1, 1]}, [])
    value = result.cases[0].contenders[0].value
    assert (value.median, value.low, value.high, value.rounds) == (2, 1, 3, (3, 1, 2))
    assert result.cases[0].contenders[0].beside["double"].rounds == (6, 2, 4)


@pytest.mark.parametrize(("higher_is_better", "expected"), [(True, (3.0, 2.0, 8.0)), (False, (1 / 3, 1 / 8, 1 / 2))])
def test_ratios_are_taken_within_a_round(higher_is_better: bool, expected: tuple[float, float, float]) -> None:
    result = _run({"a": [1, 6, 8, 40], "b": [1, 2, 4, 5]}, [], higher_is_better=higher_is_better)
    ours, other = result.cases[0].contenders
    assert ours.ratio is None
    assert other.ratio is not None
    assert (other.ratio.median, other.ratio.low, other.ratio.high) == pytest.approx(expected)
    assert other.ratio.median != ours.value.median / other.value.median, "the ratio of medians is another number"


def test_what_is_written_can_be_read_again(tmp_path: Path) -> None:
    result = _run({"a": [1, 2], "b": [1, 1]}, [])
    file = report.write(result, tmp_path / "results")
    assert file.name.startswith("trivial-")
    assert msgspec.json.decode(file.read_bytes(), type=BenchmarkResult) == result
    assert {"cpu", "cores", "python", "versions"} <= result.machine.keys()
    assert result.cases[0].sizes == {"keys": 3}
    report.write_all([result, result], tmp_path / "all.json")
    assert len(msgspec.json.decode((tmp_path / "all.json").read_bytes())) == 2


def test_the_table_has_a_row_a_contender_and_the_others_ratio() -> None:
    table = report.table(_run({"a": [1, 250, 250], "b": [1, 100, 100]}, []))
    cells = {str(column.header): list(column.cells) for column in table.columns}
    assert cells["contender"] == ["a", "b"]
    assert cells["first against it"] == ["", "2.50 x"]
    assert cells["double"] == ["500", "200"]


def test_every_file_that_is_a_benchmark_is_found() -> None:
    assert {"cachekey", "cache_read", "hot_call"} <= runner.discover().keys()
    assert "runner" not in runner.discover()


# --- h2load, whose report is read and not believed ----------------------------------------------------------------------

_REPORT = """#!/bin/sh
cat <<'END'
finished in 812.01ms, 2463.02 req/s, 858.47KB/s
requests: {total} total, {total} started, {total} done, {done} succeeded, 0 failed, 0 errored, 0 timeout
status codes: {done} 2xx, 0 3xx, 0 4xx, 0 5xx
traffic: 697.09KB (713820) total, 91.85KB (94051) headers (space savings 45.99%), 558.59KB ({data}) data
END
"""

Install = Callable[[int, int], None]


@pytest.fixture
def install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Install:
    def put(total: int, done: int) -> None:
        program = tmp_path / "h2load"
        program.write_text(_REPORT.format(total=total, done=done, data=done * 10))
        program.chmod(program.stat().st_mode | stat.S_IXUSR)
        monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    return put


def _load(requests: int) -> h2load.Outcome:
    return h2load.run("http://127.0.0.1:1/x", Path("body"), {}, h2load.Shape(2, 3), requests)


def test_the_report_of_h2load_is_read(install: Install) -> None:
    install(2000, 2000)
    assert _load(2000) == h2load.Outcome(rate=2463.02, data_bytes=20_000)


def test_requests_without_an_answer_are_no_measurement(install: Install) -> None:
    install(2000, 1999)
    with pytest.raises(Wrong, match="1999 of 2000"):
        _load(2000)


def test_http_without_messages_is_no_measurement() -> None:
    check = hot_call.measured(b"answer")
    check(3, h2load.Outcome(1.0, 3 * (5 + len(b"answer"))))
    with pytest.raises(Wrong):
        check(3, h2load.Outcome(1.0, 2 * (5 + len(b"answer"))))


class _Counters:
    """A broker whose counters rise by so much between two looks."""

    def __init__(self, *risen: int) -> None:
        self.values = iter((100, 200, 100 + risen[0], 200 + risen[1]))

    def counter(self, name: str, labels: object) -> int:
        return next(self.values)


@pytest.mark.parametrize(("risen", "good"), [((50, 50), True), ((49, 50), False), ((50, 49), False), ((51, 50), False)])
def test_only_ok_answers_from_the_cache_are_hot_calls(risen: tuple[int, int], good: bool) -> None:
    check = hot_call.counted(_Counters(*risen))  # type: ignore[arg-type]
    outcome = h2load.Outcome(1.0, 0)
    if good:
        check(50, outcome)
    else:
        with pytest.raises(Wrong):
            check(50, outcome)


def test_a_server_starts_on_its_own_core_and_the_load_stays_on_the_other() -> None:
    if not machine.PINNED:
        pytest.skip("needs two cores")
    import os

    before = os.sched_getaffinity(0)
    with machine.on_server_core():
        assert os.sched_getaffinity(0) == {machine.SERVER_CORE}
    assert os.sched_getaffinity(0) == before
    assert machine.SERVER_CORE != machine.LOAD_CORE
