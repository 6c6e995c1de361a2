"""Whether one provider may be asked now, all told: its Retry-After, its breaker, the ramp after both, and the retry budget.

State, and decisions over it: pure, monotonic seconds are handed in, `draw` gives numbers from 0 to 1. What must not go in here:
waiting and sending (guard.py), and the parts' own rules.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import NamedTuple

from broker.config import Upstream
from broker.errors import ProviderBreakerOpen, ProviderError, ProviderHeldOff, ProviderNotAsked
from broker.upstream.breaker import Breaker, Judgement, State, Ticket
from broker.upstream.concurrency import ConcurrencyLimit
from broker.upstream.ramp import Ramp
from broker.upstream.retry_budget import RetryBudget


class Refusal(NamedTuple):
    """Why a provider is not asked, and when asking again may help."""

    kind: type[ProviderNotAsked]
    after: str  # the reason of the last failure
    retry_after_s: float


class Ended(NamedTuple):
    """How one question ended, as the guard saw it."""

    judgement: Judgement | None  # None: we broke off
    interface: str
    took_s: float
    allowed_s: float  # that the question had, from its first moment
    in_flight: int  # questions on their way, this one included
    failure: ProviderError | None = None


class Admission:
    """One provider at one address."""

    def __init__(self, settings: Upstream, now_s: float, draw: Callable[[], float]) -> None:
        self.concurrency = ConcurrencyLimit(settings, now_s)
        self._settings = settings
        self._draw = draw
        self._breaker = Breaker(settings, draw)
        self._budget = RetryBudget(settings, now_s)
        self._ramp = Ramp(now_s)
        self._ramp_after: type[ProviderNotAsked] = ProviderBreakerOpen
        self._held_until_s: float | None = None
        self._last_failure = ""

    @property
    def state(self) -> State:
        """What the breaker does."""
        return self._breaker.state

    def refusal(self, now_s: float) -> Refusal | None:
        """Tell why a question would be refused now, or None; changes nothing."""
        if self._held_until_s is not None and now_s < self._held_until_s:
            return self._refuse(ProviderHeldOff, self._held_until_s - now_s)
        wait_s = self._breaker.wait_s(now_s)
        return self._refuse(ProviderBreakerOpen, wait_s) if wait_s > 0 else None

    def admit(self, now_s: float) -> Ticket | Refusal:
        """Let one question pass, which must be settled; or say why not."""
        refusal = self.refusal(now_s)
        if refusal is not None:
            return refusal
        self._end_hold(now_s)
        if self.state is State.CLOSED and not self._ramp.take(now_s):
            return self._refuse(self._ramp_after, self._settings.breaker_rest_ms / 1000)
        ticket = self._breaker.admit(now_s)
        if ticket is None:
            return self._refuse(ProviderBreakerOpen, self._breaker.wait_s(now_s))
        self._budget.deposit(now_s)
        if not ticket.is_probe:
            self._ramp.sent(now_s)
        return ticket

    def admit_again(self, now_s: float) -> Ticket | None:
        """Let the question that has just failed pass once more, if the budget has it and the provider is in good health."""
        is_well = self.state is State.CLOSED and self.refusal(now_s) is None and not self._ramp.is_on(now_s)
        return self._breaker.admit(now_s) if is_well and self._budget.withdraw(now_s) else None

    def settle(self, ticket: Ticket, ended: Ended, now_s: float) -> None:
        """Learn how a question ended."""
        before, slow = self.state, ended.took_s >= self._settings.breaker_slow_share * ended.allowed_s
        self._breaker.settle(ticket, ended.judgement, slow=slow, now_s=now_s)
        if before is State.HALF_OPEN and self.state is State.CLOSED:
            self._begin_ramp(ProviderBreakerOpen, now_s)
        if ended.failure is not None and ended.judgement is not None and ended.judgement.failed:
            self._last_failure = ended.failure.reason
        if ended.failure is not None and ended.failure.retry_after_s is not None:
            self._held_until_s = max(self._held_until_s or -math.inf, now_s + ended.failure.retry_after_s)
        if ended.judgement is not None and ended.judgement.timed:
            self.concurrency.observe(ended.interface, ended.took_s, ended.in_flight, now_s)

    def _end_hold(self, now_s: float) -> None:
        if self._held_until_s is not None:
            self._held_until_s = None
            self._begin_ramp(ProviderHeldOff, now_s)

    def _begin_ramp(self, after: type[ProviderNotAsked], now_s: float) -> None:
        self._ramp_after = after
        self._ramp.begin(now_s)

    def _refuse(self, kind: type[ProviderNotAsked], wait_s: float) -> Refusal:
        """Callers that are refused together are not told to come back together."""
        return Refusal(kind, self._last_failure, wait_s + self._draw() * self._settings.breaker_rest_ms / 1000)
