"""What stands before a provider, in time that is handed in: retry budget, concurrency limit, ramp, Retry-After, and all of it
through an outage of ten minutes, which takes a second."""

from __future__ import annotations

import itertools
import random
from collections import Counter
from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st

from broker.config import Upstream
from broker.errors import ProviderBreakerOpen, ProviderHeldOff, ProviderUnavailable
from broker.upstream.admission import Admission, Ended, Refusal
from broker.upstream.breaker import ANSWERED, Judgement, State, Ticket
from broker.upstream.concurrency import ConcurrencyLimit
from broker.upstream.ramp import Ramp
from broker.upstream.retry_budget import RetryBudget

FAILED = Judgement(failed=True, timed=False)

# --- retry budget -------------------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.floats(0, 3), st.integers(0, 30), st.integers(0, 5))))
def test_retries_never_exceed_a_tenth_of_the_calls_and_one_a_second(steps: list[tuple[float, int, int]]) -> None:
    budget, now_s, calls, retries = RetryBudget(Upstream(), 0.0), 0.0, 0, 0
    for pause_s, sent, wanted in steps:
        now_s += pause_s
        for _ in range(sent):
            budget.deposit(now_s)
        calls += sent
        retries += sum(budget.withdraw(now_s) for _ in range(wanted))
        assert retries <= 1 + 0.1 * calls + now_s + 1e-6


def test_what_was_saved_in_good_times_is_not_spent_at_once() -> None:
    budget = RetryBudget(Upstream(), 0.0)
    for i in range(100_000):
        budget.deposit(i / 1000)
    assert sum(budget.withdraw(100.0) for _ in range(1000)) == 10


def test_without_a_budget_there_are_no_retries() -> None:
    budget = RetryBudget(Upstream(retry_ratio=0.0, retry_per_second=0.0), 0.0)
    budget.deposit(1.0)
    assert not budget.withdraw(1000.0)


# --- concurrency limit --------------------------------------------------------------------------------------------------


def load(limit: ConcurrencyLimit, took_s: float, seconds: float, start_s: float, interface: str = "person") -> float:
    """A provider under full load: as many on their way as the limit allows, each taking so long."""
    now_s = start_s
    while now_s < start_s + seconds:
        limit.observe(interface, took_s, limit.limit, now_s)
        now_s += took_s / limit.limit
    return now_s


def test_it_begins_at_the_most_and_stays_there_while_answers_take_what_they_take() -> None:
    limit = ConcurrencyLimit(Upstream(max_connections_per_provider=60), 0.0)
    load(limit, 0.05, 5, 0.0)
    assert limit.limit == 60


def test_it_shrinks_when_answers_take_longer_and_grows_again_when_they_do_not() -> None:
    limit = ConcurrencyLimit(Upstream(), 0.0)
    now_s = load(limit, 0.05, 5, 0.0)
    now_s = load(limit, 2.0, 30, now_s)
    assert 4 <= limit.limit <= 12
    load(limit, 0.05, 60, now_s)
    assert limit.limit == 100


def test_it_is_never_below_the_least_nor_above_the_most() -> None:
    rng = random.Random(7)
    limit = ConcurrencyLimit(Upstream(), 0.0)
    for i in range(20_000):
        limit.observe("person", rng.choice((0.0, 0.001, 0.1, 30.0)), rng.randint(1, 100), i / 100)
        assert 4 <= limit.limit <= 100
    assert ConcurrencyLimit(Upstream(max_connections_per_provider=2), 0.0).limit == 2


def test_a_slow_interface_beside_a_quick_one_is_no_slowing_provider() -> None:
    limit = ConcurrencyLimit(Upstream(), 0.0)
    for i in range(5000):
        limit.observe("quick", 0.01, 100, i / 100)
        limit.observe("slow", 1.0, 100, i / 100)
    assert limit.limit == 100


def test_a_provider_that_is_hardly_asked_keeps_its_limit_however_slow_it_gets() -> None:
    limit = ConcurrencyLimit(Upstream(), 0.0)
    for i in range(1000):
        limit.observe("person", 0.01 if i < 100 else 3.0, 3, i / 10)
    assert limit.limit == 100


# --- ramp ---------------------------------------------------------------------------------------------------------------


def send_evenly(ramp: Ramp, per_s: float, seconds: float, start_s: float = 0.0) -> float:
    for i in range(int(per_s * seconds)):
        ramp.sent(start_s + i / per_s)
    return start_s + seconds


@pytest.mark.parametrize("per_s", [10, 50, 400])
@pytest.mark.parametrize("seconds", [5, 60, 300])
def test_the_ordinary_rate_is_what_was_sent(per_s: float, seconds: float) -> None:
    ramp = Ramp(0.0)
    send_evenly(ramp, per_s, seconds)
    assert ramp.ordinary_per_s == pytest.approx(per_s, rel=0.03)


def taken(ramp: Ramp, per_s: float, start_s: float, seconds: float) -> int:
    return sum(ramp.take(start_s + i / per_s) for i in range(int(per_s * seconds)))


@pytest.mark.parametrize("wanted_per_s", [100, 500, 5000])
def test_the_first_second_sees_at_most_twice_the_rate_however_many_come(wanted_per_s: float) -> None:
    ramp = Ramp(0.0)
    back_s = send_evenly(ramp, 100, 60) + 600
    ramp.begin(back_s)
    assert taken(ramp, wanted_per_s, back_s, 1) <= 200
    assert taken(ramp, wanted_per_s, back_s + 5, 1) == wanted_per_s, "then it lets everything through"


def test_the_ordinary_rate_of_callers_is_hardly_held_up() -> None:
    ramp = Ramp(0.0)
    back_s = send_evenly(ramp, 100, 60) + 600
    ramp.begin(back_s)
    assert taken(ramp, 100, back_s, 10) >= 990


def test_the_time_a_provider_was_away_is_no_part_of_its_rate() -> None:
    ramp = Ramp(0.0)
    back_s = send_evenly(ramp, 100, 60) + 36_000
    ramp.begin(back_s)
    assert ramp.ordinary_per_s == pytest.approx(100, rel=0.02)
    send_evenly(ramp, 100, 10, back_s)
    assert ramp.ordinary_per_s == pytest.approx(100, rel=0.05)


def test_a_provider_that_is_hardly_asked_gets_five_a_second() -> None:
    assert Ramp(0.0).ordinary_per_s == 5


# --- all together -------------------------------------------------------------------------------------------------------


def admission(**settings: object) -> Admission:
    return Admission(Upstream(**settings), 0.0, random.Random(1).random)


def end(of: Admission, ticket: Ticket, now_s: float, judgement: Judgement, took_s: float = 0.01, **more: float) -> None:
    failure = ProviderUnavailable("police", **more) if judgement.failed else None
    of.settle(ticket, Ended(judgement, "person", took_s, 5.0, 1, failure), now_s)


def admitted(of: Admission, now_s: float) -> Ticket:
    ticket = of.admit(now_s)
    assert isinstance(ticket, Ticket)
    return ticket


def test_while_retry_after_runs_nobody_is_let_through_and_each_is_told_how_long() -> None:
    made = admission()
    end(made, admitted(made, 0.0), 0.0, FAILED, retry_after_s=30.0)
    for now_s in (0.0, 10.0, 29.9):
        refused = made.admit(now_s)
        assert isinstance(refused, Refusal) and refused.kind is ProviderHeldOff
        assert 30 - now_s <= refused.retry_after_s <= 31 - now_s
    assert isinstance(made.admit(30.0), Ticket)


def test_the_longest_retry_after_holds_and_an_answer_on_its_way_does_not_end_it() -> None:
    made = admission()
    tickets = [admitted(made, 0.0) for _ in range(3)]
    for ticket, wait_s in zip(tickets, (60.0, 5.0, None), strict=True):
        end(made, ticket, 1.0, FAILED if wait_s else ANSWERED, **({"retry_after_s": wait_s} if wait_s else {}))
    assert isinstance(made.admit(60.9), Refusal)
    assert isinstance(made.admit(61.0), Ticket)


def test_after_retry_after_callers_come_back_by_the_ramp_and_are_told_why() -> None:
    made = admission()
    for i in range(200):
        end(made, admitted(made, i / 20), i / 20, ANSWERED)
    end(made, admitted(made, 10.0), 10.0, FAILED, retry_after_s=5.0)
    back = [made.admit(15 + i / 1000) for i in range(1000)]
    assert sum(isinstance(one, Ticket) for one in back) <= 2 * 20
    assert {one.kind for one in back if isinstance(one, Refusal)} == {ProviderHeldOff}


def test_a_probe_is_not_retried_nor_a_call_of_a_provider_that_comes_back() -> None:
    made = admission()
    while made.state is State.CLOSED:
        end(made, admitted(made, 0.0), 0.0, FAILED)
    now_s = 2.0
    while made.state is not State.CLOSED:
        probe = admitted(made, now_s)
        assert made.admit_again(now_s) is None
        end(made, probe, now_s, ANSWERED)
        now_s += 2
    assert made.admit_again(now_s - 1) is None
    assert made.admit_again(now_s + 10) is not None


def test_an_answer_that_takes_most_of_its_time_is_slow() -> None:
    made = admission()
    for i in range(10):
        end(made, admitted(made, i / 10), i / 10, ANSWERED, took_s=4.0)
    assert made.state is State.OPEN


@dataclass
class Outage:
    """Callers who come at random moments, all at one provider, which fails at once from `down_s` to `up_s`; no clock runs."""

    per_s: float
    down_s: float
    up_s: float
    ends_s: float
    seed: int
    after_per_s: float | None = None  # how many come once it is back
    admission: Admission = field(default_factory=admission)
    first: list[float] = field(default_factory=list)  # when questions were sent
    again: list[float] = field(default_factory=list)
    answered: list[float] = field(default_factory=list)
    asked: list[float] = field(default_factory=list)
    opened_s: float | None = None

    def run(self) -> Outage:
        rng, now_s = random.Random(self.seed), 0.0
        while now_s < self.ends_s:
            self._ask(now_s)
            now_s += rng.expovariate((self.after_per_s or self.per_s) if now_s >= self.up_s else self.per_s)
        return self

    def _ask(self, now_s: float) -> None:
        self.asked.append(now_s)
        ticket = self.admission.admit(now_s)
        if isinstance(ticket, Refusal):
            assert ticket.kind is ProviderBreakerOpen and ticket.retry_after_s > 0
            return
        self.first.append(now_s)
        if self._settle(ticket, now_s):
            return
        retry = self.admission.admit_again(now_s)
        if retry is not None:
            self.again.append(now_s)
            self._settle(retry, now_s)

    def _settle(self, ticket: Ticket, now_s: float) -> bool:
        is_down = self.down_s <= now_s < self.up_s
        end(self.admission, ticket, now_s, FAILED if is_down else ANSWERED)
        if self.admission.state is State.OPEN and self.opened_s is None:
            self.opened_s = now_s
        if not is_down:
            self.answered.append(now_s)
        return not is_down


def within(times: list[float], begin_s: float, end_s: float) -> int:
    return sum(begin_s <= moment < end_s for moment in times)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("per_s", [2, 20, 100])
def test_ten_minutes_without_a_provider(per_s: float, seed: int) -> None:
    """UP-10: opens within 20 questions, hardly more is sent than without retries, and it comes back without a rush."""
    outage = Outage(per_s, down_s=60, up_s=660, ends_s=680, seed=seed).run()
    assert outage.opened_s is not None
    sent = Counter({"first": within(outage.first, 60, 660), "again": within(outage.again, 60, 660)})
    assert within(outage.first + outage.again, 60, outage.opened_s + 1e-9) <= 20
    assert sent.total() <= 1.10 * sent["first"], "of what was sent, not of all who asked"
    probes = [moment for moment in outage.first if outage.opened_s < moment < 660]
    assert min(later - earlier for earlier, later in itertools.pairwise(probes)) >= 1
    every = sorted(outage.first + outage.again)
    assert max(within(every, start / 4, start / 4 + 1) for start in range(660 * 4, 676 * 4)) <= max(2 * per_s, 10)
    assert within(outage.answered, 670, 680) >= 0.99 * within(outage.asked, 670, 680), "all is as before within 10 s"


@pytest.mark.parametrize("times", [2, 5, 20])
def test_many_more_callers_than_before_when_it_is_back_are_let_through_bit_by_bit(times: int) -> None:
    outage = Outage(50, down_s=60, up_s=120, ends_s=135, seed=5, after_per_s=50 * times).run()
    closed_s = next(later for earlier, later in itertools.pairwise(outage.answered) if later > 120 and later - earlier < 0.9)
    assert closed_s < 126
    assert within(outage.first + outage.again, closed_s, closed_s + 1) <= 2 * 50
    assert within(outage.first, 133, 134) == within(outage.asked, 133, 134)


def test_a_provider_that_flaps_every_seven_seconds_is_left_alone_in_its_bad_times() -> None:
    """UP-04: half of the time it fails; each time it costs it no more than 20 questions, and retries stay a tenth."""
    made, sent, failed, retries = admission(), 0, 0, 0
    for i in range(60_000):
        now_s = i / 100
        ticket = made.admit(now_s)
        is_down = int(now_s / 7) % 2 == 1
        if isinstance(ticket, Ticket):
            sent, failed = sent + 1, failed + is_down
            end(made, ticket, now_s, FAILED if is_down else ANSWERED)
            again = made.admit_again(now_s) if is_down else None
            if again is not None:
                retries += 1
                end(made, again, now_s, FAILED)
    assert sent > 8000
    assert failed + retries <= 20 * 43, "so many bad times there are in ten minutes"
    assert retries <= 0.1 * sent


def test_a_provider_that_loses_one_connection_in_five_is_retried_within_the_budget() -> None:
    made, sent, retries, rng = admission(), 0, 0, random.Random(3)
    for i in range(20_000):
        now_s = i / 200
        ticket = made.admit(now_s)
        if isinstance(ticket, Ticket):
            sent += 1
            lost = rng.random() < 0.2
            end(made, ticket, now_s, FAILED if lost else ANSWERED)
            again = made.admit_again(now_s) if lost else None
            if again is not None:
                retries += 1
                end(made, again, now_s, FAILED if rng.random() < 0.2 else ANSWERED)
    assert 0 < retries <= 1 + 0.1 * sent + 100
    assert sent + retries <= 1.11 * sent
