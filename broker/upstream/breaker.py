"""Circuit breaker of one provider: closed it is asked, open it is not, half-open one question at a time finds out.

Opens by the share of failures, or of slow answers, among the last calls (M. Nygard, Release It!, 2nd ed., ch. 5; the window by
count as Resilience4j's, bounded by age too, so that an outage shows within so many calls however many there were before).
Only what was sent counts, not who waits for it. Pure; all times are monotonic seconds that are handed in. What must not go in
here: waiting, how much may be asked at once (concurrency.py), and errors for callers (admission.py).
"""

from __future__ import annotations

import enum
from collections import deque
from collections.abc import Callable, Mapping
from typing import NamedTuple

from broker.config import Upstream
from broker.errors import (
    ProviderError,
    ProviderNonsense,
    ProviderOverloaded,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)


class State(enum.IntEnum):
    """What a breaker does; the numbers are those of the metric."""

    CLOSED = 0
    HALF_OPEN = 1
    OPEN = 2


class Event(enum.Enum):
    """What may lead to another state."""

    TRIPPED = "TRIPPED"  # too many failures, or slow answers, in the window
    RESTED = "RESTED"  # the rest is over
    FAILED = "FAILED"  # a probe did
    RECOVERED = "RECOVERED"  # enough probes in a row were answered in time


# Pairs that are not here change nothing.
FOLLOWS: Mapping[tuple[State, Event], State] = {
    (State.CLOSED, Event.TRIPPED): State.OPEN,
    (State.OPEN, Event.RESTED): State.HALF_OPEN,
    (State.HALF_OPEN, Event.FAILED): State.OPEN,
    (State.HALF_OPEN, Event.RECOVERED): State.CLOSED,
}


class Judgement(NamedTuple):
    """What the end of one question says of the provider."""

    failed: bool  # for the breaker
    timed: bool  # whether the time it took is the time the provider takes, for the concurrency limit


ANSWERED = Judgement(failed=False, timed=True)
# A provider that refuses an argument works. A quick failure says nothing of the time that answers take.
JUDGEMENTS: Mapping[type[ProviderError], Judgement] = {
    ProviderRefused: ANSWERED,
    ProviderTimeout: Judgement(failed=True, timed=True),
    ProviderUnavailable: Judgement(failed=True, timed=False),
    ProviderOverloaded: Judgement(failed=True, timed=False),
    ProviderNonsense: Judgement(failed=True, timed=False),
}


def judge(error: ProviderError) -> Judgement:
    """Judge an error of a provider that was asked: as its kind is, else as the kind that it is one of."""
    return next(JUDGEMENTS[kind] for kind in type(error).__mro__ if kind in JUDGEMENTS)


class Ticket(NamedTuple):
    """Leave to send one question, given back by `settle`."""

    era: int  # what was sent before the last change of state says nothing about the present one
    is_probe: bool


class _Call(NamedTuple):
    ended_s: float
    failed: bool
    slow: bool


class Breaker:
    """Belongs to one provider at one address. `draw` gives numbers from 0 to 1."""

    def __init__(self, settings: Upstream, draw: Callable[[], float]) -> None:
        self.state = State.CLOSED
        self._settings = settings
        self._draw = draw
        self._window: deque[_Call] = deque()
        self._failed = self._slow = 0  # in the window
        self._era = 0
        self._not_before_s = 0.0
        self._probing = False
        self._passed = 0  # probes in a row

    def wait_s(self, now_s: float) -> float:
        """Return the seconds until a question may be sent, 0.0 for now; while a probe is out, an estimate."""
        if self.state is State.CLOSED:
            return 0.0
        left_s = max(0.0, self._not_before_s - now_s)
        return max(left_s, self._settings.breaker_rest_ms / 1000) if self._probing else left_s

    def admit(self, now_s: float) -> Ticket | None:
        """Let one question pass, or none. Probes begin at least a rest apart, whatever becomes of them."""
        if self.wait_s(now_s) > 0:
            return None
        if self.state is State.CLOSED:
            return Ticket(self._era, is_probe=False)
        self._step(Event.RESTED, now_s)
        self._probing = True
        self._not_before_s = now_s + self._rest_s()
        return Ticket(self._era, is_probe=True)

    def settle(self, ticket: Ticket, judgement: Judgement | None, *, slow: bool, now_s: float) -> None:
        """Learn how a question ended; None: nothing was learnt of the provider, for we broke off."""
        if ticket.era != self._era:
            return
        if ticket.is_probe:
            self._probing = False
        if judgement is None:
            return
        if ticket.is_probe:
            self._judge_probe(judgement.failed or slow, now_s)
        else:
            self._count(_Call(now_s, judgement.failed, slow), now_s)

    def _judge_probe(self, failed: bool, now_s: float) -> None:
        self._passed = 0 if failed else self._passed + 1
        if failed:
            self._step(Event.FAILED, now_s)
        elif self._passed >= self._settings.breaker_probes:
            self._step(Event.RECOVERED, now_s)

    def _count(self, call: _Call, now_s: float) -> None:
        settings, window = self._settings, self._window
        window.append(call)
        self._failed += call.failed
        self._slow += call.slow
        while len(window) > settings.breaker_window_calls or window[0].ended_s < now_s - settings.breaker_window_ms / 1000:
            gone = window.popleft()
            self._failed -= gone.failed
            self._slow -= gone.slow
        failing = self._failed >= settings.breaker_failure_ratio * len(window)
        slow = self._slow >= settings.breaker_slow_ratio * len(window)
        if (failing or slow) and len(window) >= settings.breaker_min_calls:
            self._step(Event.TRIPPED, now_s)

    def _step(self, event: Event, now_s: float) -> None:
        follows = FOLLOWS.get((self.state, event), self.state)
        if follows is self.state:
            return
        self.state = follows
        self._era += 1
        self._window.clear()
        self._failed = self._slow = 0
        self._passed = 0
        if follows is State.OPEN:
            self._not_before_s = now_s + self._rest_s()

    def _rest_s(self) -> float:
        """A rest, and up to half as much: brokers that lost a provider together do not come back together."""
        return self._settings.breaker_rest_ms / 1000 * (1 + self._draw() / 2)
