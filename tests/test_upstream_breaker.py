"""The circuit breaker, by its table: every pair of state and event, and what opens and closes it, in time that is handed in."""

from __future__ import annotations

import itertools

import pytest

from broker import errors
from broker.config import Upstream
from broker.errors import ProviderError, ProviderNotAsked, ProviderRefused
from broker.upstream.breaker import ANSWERED, FOLLOWS, JUDGEMENTS, Breaker, Event, Judgement, State, Ticket, judge
from broker.upstream.envelope import SignatureRefused

FAILED = Judgement(failed=True, timed=False)
REST_S = 1.0


def breaker(draw: float = 0.0, **settings: object) -> Breaker:
    return Breaker(Upstream(**settings), lambda: draw)


def send(of: Breaker, judgement: Judgement | None, now_s: float, *, slow: bool = False) -> None:
    ticket = of.admit(now_s)
    assert ticket is not None
    of.settle(ticket, judgement, slow=slow, now_s=now_s)


def opened(draw: float = 0.0, **settings: object) -> Breaker:
    """A breaker that opened at 0."""
    made = breaker(draw, **settings)
    while made.state is State.CLOSED:
        send(made, FAILED, 0.0)
    return made


def in_state(state: State) -> tuple[Breaker, Ticket | None]:
    made = breaker() if state is State.CLOSED else opened()
    return made, made.admit(2 * REST_S) if state is not State.OPEN else None


@pytest.mark.parametrize(("state", "event"), list(itertools.product(State, Event)))
def test_every_pair_of_state_and_event_does_what_the_table_says(state: State, event: Event) -> None:
    made, _ = in_state(state)
    assert made.state is state
    made._step(event, 2 * REST_S)
    assert made.state is FOLLOWS.get((state, event), state)


def test_the_table_is_the_one_of_the_literature() -> None:
    ways = {(before.name, event.name, after.name) for (before, event), after in FOLLOWS.items()}
    assert ways == {
        ("CLOSED", "TRIPPED", "OPEN"),
        ("OPEN", "RESTED", "HALF_OPEN"),
        ("HALF_OPEN", "FAILED", "OPEN"),
        ("HALF_OPEN", "RECOVERED", "CLOSED"),
    }


def test_every_error_of_a_provider_that_was_asked_is_judged() -> None:
    kinds = {kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, ProviderError)}
    asked = {kind for kind in kinds if kind is not ProviderError and not issubclass(kind, ProviderNotAsked)}
    assert JUDGEMENTS.keys() == asked
    assert [kind for kind, judgement in JUDGEMENTS.items() if not judgement.failed] == [ProviderRefused]
    assert judge(SignatureRefused("p")) is ANSWERED, "a provider that looks at signatures works"


@pytest.mark.parametrize("healthy", [0, 1, 9, 10, 19, 20, 21, 1000])
def test_an_outage_opens_it_within_twenty_calls_however_many_were_answered_before(healthy: int) -> None:
    made = breaker()
    for i in range(healthy):
        send(made, ANSWERED, i / 1000)
    failures = 0
    while made.state is State.CLOSED:
        send(made, FAILED, 1 + failures / 1000)
        failures += 1
    assert failures <= 20
    assert made.admit(1.5) is None


@pytest.mark.parametrize("pattern", ["FA", "AF", "FFAA", "AFAF", "FAA", "AFAAF"])
def test_half_of_the_calls_failing_opens_it_and_two_in_five_do_not(pattern: str) -> None:
    made = breaker()
    sent = 0
    while made.state is State.CLOSED and sent < 20:
        send(made, FAILED if pattern[sent % len(pattern)] == "F" else ANSWERED, sent / 100)
        sent += 1
    share = pattern.count("F") / len(pattern)
    assert (made.state is State.OPEN) is (share >= 0.5)


def test_what_the_provider_refuses_is_no_failure() -> None:
    made = breaker()
    for i in range(1000):
        send(made, JUDGEMENTS[ProviderRefused], i / 100)
    assert made.state is State.CLOSED


@pytest.mark.parametrize(("slow", "state"), [(7, State.CLOSED), (8, State.OPEN)])
def test_answers_that_come_but_take_too_long_open_it(slow: int, state: State) -> None:
    made = breaker()
    for i in range(10):
        send(made, ANSWERED, i / 10, slow=i < slow)
    assert made.state is state


def test_old_failures_and_too_few_calls_say_nothing() -> None:
    made = breaker(breaker_window_ms=10_000)
    for i in range(9):
        send(made, FAILED, float(i) / 10)
    send(made, FAILED, 11.0)
    assert made.state is State.CLOSED


def test_what_was_broken_off_counts_neither_way() -> None:
    made = breaker()
    for i in range(9):
        send(made, FAILED, i / 10)
    for i in range(100):
        send(made, None, 1 + i / 100)
    assert made.state is State.CLOSED
    send(made, FAILED, 2.0)
    assert made.state is State.OPEN


@pytest.mark.parametrize("draw", [0.0, 0.5, 1.0])
def test_it_rests_for_its_time_and_up_to_half_as_much(draw: float) -> None:
    made = opened(draw)
    over_s = REST_S * (1 + draw / 2)
    assert made.wait_s(0.25) == pytest.approx(over_s - 0.25)
    assert made.admit(over_s - 0.001) is None
    probe = made.admit(over_s)
    assert probe is not None and probe.is_probe and made.state is State.HALF_OPEN


def test_one_probe_at_a_time_and_no_more_than_one_a_second() -> None:
    made = opened()
    begun: list[float] = []
    out: list[tuple[float, Ticket]] = []
    for tick in range(10_000):
        now_s = tick / 128  # exact
        while out and out[0][0] <= now_s:
            made.settle(out.pop(0)[1], (FAILED, None)[len(begun) % 2], slow=False, now_s=now_s)
        ticket = made.admit(now_s)
        if ticket is not None:
            begun.append(now_s)
            out.append((now_s + (0.0, 0.3, 2.5)[len(begun) % 3], ticket))
        assert len(out) <= 1
    assert len(begun) > 30
    assert min(later - earlier for earlier, later in itertools.pairwise(begun)) >= REST_S


def test_enough_probes_in_a_row_close_it_and_one_failure_begins_anew() -> None:
    made = opened()
    states = []
    for now_s, judgement in enumerate((ANSWERED, ANSWERED, FAILED, ANSWERED, ANSWERED, ANSWERED), start=1):
        send(made, judgement, float(now_s) * 2)
        states.append(made.state.name)
    assert states == ["HALF_OPEN", "HALF_OPEN", "OPEN", "HALF_OPEN", "HALF_OPEN", "CLOSED"]


def test_a_slow_probe_is_a_failed_one() -> None:
    made = opened()
    send(made, ANSWERED, 2.0, slow=True)
    assert made.state is State.OPEN


def test_a_probe_that_was_broken_off_is_followed_by_another() -> None:
    made = opened()
    send(made, None, 1.0)
    assert made.state is State.HALF_OPEN
    assert made.admit(1.5) is None
    assert made.admit(2.0) is not None


def test_what_was_sent_before_a_change_says_nothing_after_it() -> None:
    made = breaker()
    late = [made.admit(0.0) for _ in range(40)]
    for _ in range(10):
        send(made, FAILED, 0.0)
    send(made, ANSWERED, 1.0)
    for ticket in late:
        assert ticket is not None
        made.settle(ticket, ANSWERED, slow=False, now_s=1.1)
    assert made.state is State.HALF_OPEN
    for now_s in (2.0, 3.0):
        send(made, ANSWERED, now_s)
    assert made.state is State.CLOSED
    for ticket in late:
        assert ticket is not None
        made.settle(ticket, FAILED, slow=False, now_s=3.1)
    assert made.state is State.CLOSED


def test_once_closed_it_opens_again_by_new_failures_only() -> None:
    made = opened()
    for now_s in (1.0, 2.0, 3.0):
        send(made, ANSWERED, now_s)
    for i in range(9):
        send(made, FAILED, 3 + i / 100)
    assert made.state is State.CLOSED
