"""What stands before a provider, at work: over real sockets where it is about them, else with questions that end when told."""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator

import msgspec
import pytest
from aiohttp import web

from broker.config import Upstream
from broker.errors import (
    ProviderBreakerOpen,
    ProviderError,
    ProviderHeldOff,
    ProviderNotAsked,
    ProviderOverloaded,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
    SecretMissing,
)
from broker.model.catalogue import HttpEndpoint, Provider
from broker.telemetry import metrics
from broker.upstream.guard import Guard
from broker.upstream.permits import Permits
from broker.upstream.providers import Providers
from tests.upstream_kit import GOOD, config, http_server, interface, provider, providers, question


class Clock:
    """Monotonic seconds that pass when told."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


class City:
    """A provider that does to each request what `fault` says, and counts."""

    def __init__(self) -> None:
        self.fault: str = ""
        self.seen: list[float] = []
        self.headers: dict[str, str] = {}

    async def handle(self, request: web.Request) -> web.StreamResponse:
        self.seen.append(time.monotonic())
        assert request.transport is not None
        match self.fault:
            case "reset":
                request.transport.abort()
            case "reset once":
                self.fault = ""
                request.transport.abort()
            case "cut":
                response = web.StreamResponse(headers={"Content-Length": "100"})
                await response.prepare(request)
                await response.write(b'{"resident')
                request.transport.abort()
            case "hang":
                await asyncio.sleep(10)
            case "429" | "503" | "400":
                return web.Response(status=int(self.fault), headers=self.headers)
        return web.json_response(GOOD)


@contextlib.asynccontextmanager
async def city_of(clock: Clock | None = None, **settings: object) -> AsyncIterator[tuple[City, Providers, Provider]]:
    city = City()
    clocks = {"mono_s": clock} if clock else {}
    async with http_server(city.handle) as base_url, providers(config(**settings), **clocks) as asking:
        yield city, asking, provider(HttpEndpoint(base_url=base_url))


async def failing(asking: Providers, there: Provider, timeout_s: float = 5, **settings: object) -> ProviderError:
    with pytest.raises(ProviderError) as caught:
        await asking.ask(question(interface(**settings)), there, timeout_s)
    return caught.value


def metric(name: str, **labels: str) -> float | None:
    return metrics.registry.get_sample_value(name, {"provider": "police", **labels})


# --- retries ------------------------------------------------------------------------------------------------------------


async def test_a_connection_that_is_lost_before_the_answer_is_tried_once_more() -> None:
    async with city_of() as (city, asking, there):
        before = metric("broker_upstream_retries_total", outcome="ANSWERED") or 0
        city.fault = "reset once"
        assert (await asking.ask(question(), there, 5)).fields == GOOD
        assert len(city.seen) == 2
        assert metric("broker_upstream_retries_total", outcome="ANSWERED") == before + 1


async def test_it_is_tried_once_more_and_not_twice() -> None:
    async with city_of() as (city, asking, there):
        city.fault = "reset"
        assert type(await failing(asking, there)) is ProviderUnavailable
        assert len(city.seen) == 2


async def test_what_has_a_side_effect_is_never_sent_twice() -> None:
    """UP-08."""
    async with city_of() as (city, asking, there):
        for fault in ("reset", "cut", "503", "reset"):
            city.fault = fault
            assert type(await failing(asking, there, side_effect=True)) is ProviderUnavailable
        city.fault = "hang"
        assert type(await failing(asking, there, timeout_s=0.1, side_effect=True)) is ProviderTimeout
        assert len(city.seen) == 5


@pytest.mark.parametrize(
    ("fault", "error"),
    [("cut", ProviderUnavailable), ("503", ProviderUnavailable), ("429", ProviderOverloaded), ("400", ProviderRefused)],
)
async def test_a_provider_that_has_said_something_is_not_asked_again(fault: str, error: type[ProviderError]) -> None:
    async with city_of() as (city, asking, there):
        city.fault = fault
        assert type(await failing(asking, there)) is error
        assert len(city.seen) == 1


async def test_nor_one_that_took_all_the_time_there_was() -> None:
    async with city_of() as (city, asking, there):
        city.fault = "hang"
        assert type(await failing(asking, there, timeout_s=0.1)) is ProviderTimeout
        assert len(city.seen) == 1


async def test_beyond_the_budget_nothing_is_tried_again() -> None:
    async with city_of(Clock(), breaker_min_calls=20) as (city, asking, there):
        before = metric("broker_upstream_retries_total", outcome="DENIED") or 0
        city.fault = "reset"
        for _ in range(8):
            await failing(asking, there)
        assert len(city.seen) == 8 + 1, "one token at the start, a tenth of one a call, and no time has passed"
        assert metric("broker_upstream_retries_total", outcome="DENIED") == before + 7


# --- the breaker and Retry-After, over sockets ----------------------------------------------------------------------------


async def test_an_open_breaker_says_so_and_asks_nobody() -> None:
    clock = Clock()
    async with city_of(clock) as (city, asking, there):
        before = metric("broker_upstream_refused_total", reason="PROVIDER_BREAKER_OPEN") or 0
        city.fault = "503"
        errors = [await failing(asking, there) for _ in range(30)]
        assert len(city.seen) <= 20
        last = errors[-1]
        assert isinstance(last, ProviderBreakerOpen) and last.retry_after_s is not None and 0 < last.retry_after_s <= 2.5
        assert (last.code, last.reason, last.origin, last.stale_allowed) == (
            "UNAVAILABLE",
            "PROVIDER_BREAKER_OPEN",
            "UPSTREAM",
            True,
        )
        assert last.metadata()["after"] == "PROVIDER_UNAVAILABLE"
        assert metric("broker_upstream_breaker_state") == 2
        assert metric("broker_upstream_refused_total", reason="PROVIDER_BREAKER_OPEN") == before + 30 - len(city.seen)
        city.fault = ""
        for _ in range(3):
            clock.now_s += 2
            assert (await asking.ask(question(), there, 5)).fields == GOOD
        assert metric("broker_upstream_breaker_state") == 0


async def test_what_the_provider_refuses_never_opens_it() -> None:
    async with city_of() as (city, asking, there):
        city.fault = "400"
        for _ in range(40):
            assert type(await failing(asking, there)) is ProviderRefused
        assert len(city.seen) == 40


@pytest.mark.parametrize("status", ["429", "503"])
@pytest.mark.parametrize(("said", "held_s"), [("7", 7), ("-1", 1), ("0", 1), ("99999999999", 900), ("nonsense", 0)])
async def test_retry_after_holds_askers_back_within_reason(status: str, said: str, held_s: float) -> None:
    """UP-06."""
    clock = Clock()
    async with city_of(clock) as (city, asking, there):
        city.fault, city.headers = status, {"Retry-After": said}
        await failing(asking, there)
        city.fault = ""
        if held_s:
            clock.now_s += held_s - 0.01
            held = await failing(asking, there)
            assert isinstance(held, ProviderHeldOff) and held.retry_after_s is not None and 0 < held.retry_after_s <= 1.01
            assert (held.code, held.reason) == ("UNAVAILABLE", "PROVIDER_RETRY_AFTER")
            assert held.after == {"429": "PROVIDER_QUOTA", "503": "PROVIDER_UNAVAILABLE"}[status]
            other = msgspec.structs.replace(there, id="tax")
            assert (await asking.ask(question(), other, 5)).fields == GOOD, "another provider is not concerned"
            clock.now_s += 0.01
        assert (await asking.ask(question(), there, 5)).fields == GOOD
        assert len(city.seen) == (3 if held_s else 2)


async def test_what_is_known_of_an_address_outlives_its_other_settings_but_not_a_move() -> None:
    async with city_of(Clock()) as (city, asking, there), city_of() as (other, _, elsewhere):
        assert isinstance(there.endpoint, HttpEndpoint)
        city.fault = "503"
        while type(await failing(asking, there)) is not ProviderBreakerOpen:
            pass
        seen = len(city.seen)
        renewed = msgspec.structs.replace(there.endpoint, requester_id="R2", base_url=f"{there.endpoint.base_url}/v2")
        assert type(await failing(asking, msgspec.structs.replace(there, endpoint=renewed))) is ProviderBreakerOpen
        assert (await asking.ask(question(), elsewhere, 5)).fields == GOOD
        assert (len(city.seen), len(other.seen)) == (seen, 1)
        assert metric("broker_upstream_breaker_state") == 0


async def test_a_provider_that_leaves_the_catalogue_is_forgotten_with_its_metrics() -> None:
    async with city_of(Clock()) as (city, asking, there):
        city.fault = "503"
        while type(await failing(asking, there)) is not ProviderBreakerOpen:
            pass
        asking.retire_except(("tax",))
        assert metric("broker_upstream_breaker_state") is metric("broker_upstream_concurrency_limit") is None
        assert type(await failing(asking, there)) is ProviderUnavailable
        assert metric("broker_upstream_breaker_state") == 0


async def test_an_outage_and_callers_who_come_again_when_told_to() -> None:
    """UP-10, with real time and sockets: a second of health, one and a half without, and what follows."""
    per_s, asked, answered = 80, 0, list[float]()

    async def caller(asking: Providers, there: Provider) -> None:
        nonlocal asked
        while True:
            asked += 1
            try:
                await asking.ask(question(), there, 2)
            except ProviderNotAsked as error:
                assert error.retry_after_s is not None
                await asyncio.sleep(error.retry_after_s)
            except ProviderUnavailable:
                return
            else:
                answered.append(time.monotonic())
                return

    async def callers(asking: Providers, there: Provider, seconds: float) -> list[asyncio.Task[None]]:
        tasks, began_s = [], time.monotonic()
        while time.monotonic() < began_s + seconds:
            tasks.append(asyncio.create_task(caller(asking, there)))
            await asyncio.sleep(1 / per_s)
        return tasks

    async with city_of(breaker_rest_ms=250) as (city, asking, there):
        tasks = await callers(asking, there, 1)
        ordinary = len(city.seen)
        city.fault, asked = "reset", 0
        tasks += await callers(asking, there, 1.5)
        seen = len(city.seen) - ordinary
        assert seen <= 20 + 1.5 / 0.25 + 1, "to open, and to probe"
        assert seen <= 1.10 * asked
        city.fault, back_s = "", time.monotonic()
        tasks += await callers(asking, there, 2.5)
        await asyncio.gather(*tasks)
        since_back = [moment for moment in answered if moment > back_s]
        closed_s = since_back[2]  # of three probes
        assert closed_s - back_s < 3
        assert sum(closed_s <= moment < closed_s + 1 for moment in city.seen) <= 2 * ordinary
        assert len(answered) >= len(tasks) - 20, "who was not sent before it opened is answered in the end"


# --- permits ------------------------------------------------------------------------------------------------------------


def guard(clock: Clock | None = None, **settings: object) -> Guard:
    return Guard("police", Upstream(**settings), clock or time.monotonic)


async def at_once(_left_s: float) -> str:
    return "answer"


async def broken(_left_s: float) -> str:
    raise ProviderUnavailable("police")


async def test_callers_that_are_cancelled_at_any_moment_leak_no_permit() -> None:
    made, rng, sent = guard(max_connections_per_provider=3), random.Random(11), 0

    async def send(_left_s: float) -> str:
        nonlocal sent
        sent += 1
        await asyncio.sleep(rng.random() / 1000)
        return "answer"

    for _ in range(60):
        asking = [asyncio.create_task(made.ask("person", send, 5, repeatable=True)) for _ in range(12)]
        for task in rng.sample(asking, 8):
            await asyncio.sleep(rng.choice((0, 0, 0.0003)))
            task.cancel()
        ended = await asyncio.gather(*asking, return_exceptions=True)
        assert {type(end) for end in ended} <= {str, asyncio.CancelledError}
        assert sum(end == "answer" for end in ended) >= 4
    assert repr(made) == "<Guard: CLOSED, <Permits: 0 of 3, 0 waiting>>"
    assert sent > 240


async def test_who_is_cancelled_in_the_moment_of_its_turn_passes_it_on() -> None:
    permits = Permits(1)
    await permits.take(1)
    first, second = (asyncio.create_task(permits.take(5)) for _ in range(2))
    await asyncio.sleep(0)
    permits.give_back()  # to the first, who has yet to wake up
    first.cancel()
    await asyncio.wait_for(second, 1)
    assert first.cancelled()
    assert repr(permits) == "<Permits: 1 of 1, 0 waiting>"


async def test_turns_come_in_order_and_a_smaller_limit_lets_fewer_on() -> None:
    permits, order = Permits(2), list[int]()

    async def one(i: int) -> None:
        await permits.take(5)
        order.append(i)

    for _ in range(2):
        await permits.take(5)
    tasks = [asyncio.create_task(one(i)) for i in range(4)]
    await asyncio.sleep(0)
    permits.resize(1)
    permits.give_back()
    await asyncio.sleep(0)
    assert order == []
    permits.give_back()
    await asyncio.sleep(0.01)
    assert order == [0]
    permits.resize(10)
    await asyncio.gather(*tasks)
    assert order == [0, 1, 2, 3]


async def test_half_of_its_time_in_line_and_a_question_is_given_up_unsent() -> None:
    made, never = guard(max_connections_per_provider=1), asyncio.Event()

    async def hang(_left_s: float) -> str:
        await never.wait()
        return "answer"

    first = asyncio.create_task(made.ask("person", hang, 5, repeatable=True))
    await asyncio.sleep(0)
    began_s = time.monotonic()
    for _ in range(3):
        with pytest.raises(ProviderTimeout):
            await made.ask("person", broken, 0.1, repeatable=True)
    assert 0.15 <= time.monotonic() - began_s < 1
    never.set()
    assert await first == "answer"
    assert repr(made) == "<Guard: CLOSED, <Permits: 0 of 1, 0 waiting>>"


async def test_who_waits_in_line_hears_at_once_that_the_breaker_has_opened() -> None:
    made, down = guard(max_connections_per_provider=10), asyncio.Event()

    async def fail(_left_s: float) -> str:
        await down.wait()
        raise ProviderUnavailable("police")

    asking = [asyncio.create_task(made.ask("person", fail, 60, repeatable=True)) for _ in range(200)]
    await asyncio.sleep(0.01)
    began_s = time.monotonic()
    down.set()
    ended = await asyncio.gather(*asking, return_exceptions=True)
    assert time.monotonic() - began_s < 1
    kinds = [type(end) for end in ended]
    assert (kinds.count(ProviderUnavailable), kinds.count(ProviderBreakerOpen)) == (10, 190)
    assert repr(made) == "<Guard: OPEN, <Permits: 0 of 10, 0 waiting>>"


@pytest.mark.parametrize("end", ["cancelled", "secret missing", "a bug"])
async def test_a_probe_that_ends_without_a_word_of_the_provider_is_followed_by_another(end: str) -> None:
    clock = Clock()
    made = guard(clock)
    while "OPEN" not in repr(made):
        with pytest.raises(ProviderUnavailable):
            await made.ask("person", broken, 5, repeatable=False)
    clock.now_s += 2

    async def cut_short(_left_s: float) -> str:
        if end == "cancelled":
            await asyncio.sleep(10)
        raise SecretMissing("no key") if end == "secret missing" else RuntimeError

    probe = asyncio.create_task(made.ask("person", cut_short, 5, repeatable=True))
    await asyncio.sleep(0)
    probe.cancel()
    with pytest.raises((asyncio.CancelledError, SecretMissing, RuntimeError)):
        await probe
    with pytest.raises(ProviderBreakerOpen):
        await made.ask("person", at_once, 5, repeatable=True)
    clock.now_s += 2
    assert await made.ask("person", at_once, 5, repeatable=True) == "answer"
