"""Single-flight: who waits, who leaves, what is left."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from broker.errors import DeadlineExceeded, ProviderUnavailable
from broker.upstream.flight import SingleFlight

KEY = b"key"


class Work:
    """A piece of work that ends when told, and counts how often it was started."""

    def __init__(self, error: Exception | None = None) -> None:
        self.started = 0
        self.ended = 0
        self.gate = asyncio.Event()
        self._error = error

    async def __call__(self) -> str:
        self.started += 1
        await self.gate.wait()
        self.ended += 1
        if self._error is not None:
            raise self._error
        return "answer"


async def waiting(flight: SingleFlight, work: Work, count: int, timeout_s: float = 5) -> list[asyncio.Task[tuple[str, bool]]]:
    tasks = [asyncio.create_task(flight.share(KEY, work, timeout_s)) for _ in range(count)]
    await asyncio.sleep(0.01)
    return tasks


async def test_a_thousand_waiters_share_one_piece_of_work() -> None:
    flight, work = SingleFlight(), Work()
    tasks = await waiting(flight, work, 1000)
    assert repr(flight) == "<SingleFlight: 1 in flight>"
    work.gate.set()
    results = await asyncio.gather(*tasks)
    assert work.started == 1
    assert {value for value, _ in results} == {"answer"}
    assert [joined for _, joined in results].count(False) == 1
    assert flight.in_flight == 0


async def test_different_keys_do_not_share() -> None:
    flight, one, two = SingleFlight(), Work(), Work()
    one.gate.set()
    two.gate.set()
    results = await asyncio.gather(flight.share(b"1", one, 5), flight.share(b"2", two, 5))
    assert (one.started, two.started) == (1, 1)
    assert [joined for _, joined in results] == [False, False]


async def test_a_cancelled_leader_takes_nothing_with_it() -> None:
    flight, work = SingleFlight(), Work()
    leader, *followers = await waiting(flight, work, 10)
    leader.cancel()
    with pytest.raises(asyncio.CancelledError):
        await leader
    work.gate.set()
    assert {value for value, _ in await asyncio.gather(*followers)} == {"answer"}
    assert work.started == 1


async def test_each_waiter_has_its_own_deadline() -> None:
    flight, work = SingleFlight(), Work()
    (patient,) = await waiting(flight, work, 1)
    began = asyncio.get_running_loop().time()
    with pytest.raises(DeadlineExceeded):
        await flight.share(KEY, work, 0.05)
    assert 0.045 <= asyncio.get_running_loop().time() - began < 0.5
    work.gate.set()
    assert await patient == ("answer", False)


async def test_no_time_left_starts_nothing() -> None:
    flight, work = SingleFlight(), Work()
    for none_left in (0.0, -1.0):
        with pytest.raises(DeadlineExceeded):
            await flight.share(KEY, work, none_left)
    assert (work.started, flight.in_flight) == (0, 0)


async def test_work_that_everybody_left_runs_to_its_end() -> None:
    flight, work = SingleFlight(), Work()
    for task in await waiting(flight, work, 5):
        task.cancel()
    await asyncio.sleep(0.01)
    assert flight.in_flight == 1
    work.gate.set()
    await asyncio.sleep(0.01)
    assert (work.ended, flight.in_flight) == (1, 0)


async def test_an_error_reaches_every_waiter_as_the_same_error() -> None:
    flight, work = SingleFlight(), Work(ProviderUnavailable("police"))
    tasks = await waiting(flight, work, 1000)
    work.gate.set()
    errors = await asyncio.gather(*tasks, return_exceptions=True)
    assert len({id(error) for error in errors}) == 1
    assert isinstance(errors[0], ProviderUnavailable)
    assert flight.in_flight == 0


async def test_an_error_raised_to_many_keeps_a_short_traceback_that_shows_the_work() -> None:
    flight, work = SingleFlight(), Work(ProviderUnavailable("police"))
    tasks = await waiting(flight, work, 100)
    work.gate.set()
    for task in tasks:
        with pytest.raises(ProviderUnavailable) as caught:
            await task
        names = [entry.name for entry in caught.traceback]
        assert "__call__" in names
        assert len(names) < 10


async def test_an_error_that_nobody_waits_for_is_not_logged() -> None:
    complaints: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: complaints.append(context))
    flight, work = SingleFlight(), Work(ProviderUnavailable("police"))
    for task in await waiting(flight, work, 3):
        task.cancel()
    work.gate.set()
    await asyncio.sleep(0.01)
    gc.collect()
    assert work.ended == 1
    assert complaints == []


async def test_work_that_has_ended_is_not_joined() -> None:
    """The next caller runs after the work's last line and before the loop has told the flight."""
    flight, second = SingleFlight(), Work()
    last_line = asyncio.get_running_loop().create_future()

    async def first() -> str:
        await asyncio.sleep(0)
        last_line.set_result(None)
        return "old answer"

    async def next_caller() -> tuple[str, bool]:
        await last_line
        return await flight.share(KEY, second, 5)

    late = asyncio.create_task(next_caller())
    await asyncio.sleep(0)
    assert await flight.share(KEY, first, 5) == ("old answer", False)
    await asyncio.sleep(0)
    assert flight.in_flight == 1
    second.gate.set()
    assert await late == ("answer", False)
    assert flight.in_flight == 0


async def test_the_next_call_after_the_end_starts_anew() -> None:
    flight, work = SingleFlight(), Work()
    work.gate.set()
    assert await flight.share(KEY, work, 5) == ("answer", False)
    assert await flight.share(KEY, work, 5) == ("answer", False)
    assert work.started == 2


async def test_nothing_is_left_after_values_and_errors() -> None:
    flight = SingleFlight()

    class Answer:
        pass

    async def answer() -> Answer:
        await asyncio.sleep(0)
        return Answer()

    async def fail() -> None:
        await asyncio.sleep(0)
        raise ProviderUnavailable("police")

    left = []
    for _ in range(50):
        value, _ = await flight.share(KEY, answer, 5)
        left.append(weakref.ref(value))
        with pytest.raises(ProviderUnavailable):
            await flight.share(KEY, fail, 5)
    del value
    await asyncio.sleep(0)
    gc.collect()
    assert [ref for ref in left if ref() is not None] == []
    assert len(asyncio.all_tasks()) == 1
    assert flight.in_flight == 0


async def test_drain_waits_for_what_ends_in_time() -> None:
    flight, work = SingleFlight(), Work()
    (waiter,) = await waiting(flight, work, 1)
    asyncio.get_running_loop().call_later(0.02, work.gate.set)
    await flight.drain(grace_s=5)
    assert await waiter == ("answer", False)
    assert flight.in_flight == 0


async def test_drain_cancels_what_does_not_and_its_waiters_get_an_error_of_ours() -> None:
    flight, work = SingleFlight(), Work()
    (waiter,) = await waiting(flight, work, 1)
    await flight.drain(grace_s=0.01)
    assert (work.ended, flight.in_flight) == (0, 0)
    with pytest.raises(DeadlineExceeded):
        await waiter
