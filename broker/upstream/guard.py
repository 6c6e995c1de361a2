"""Stands before one provider: asks it when its admission lets it, once more when nothing reached it, and tells what came of it.

Decisions are `admission.py`'s; here they are acted on. What must not go in here: rules, protocols, and what an answer means.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable
from typing import Generic, NamedTuple, TypeVar

import structlog

from broker.config import Upstream
from broker.errors import ProviderError, ProviderNotAsked, ProviderTimeout, ProviderUnavailable
from broker.telemetry import metrics
from broker.upstream.admission import Admission, Ended, Refusal
from broker.upstream.breaker import ANSWERED, Judgement, State, Ticket, judge
from broker.upstream.permits import Permits

log = structlog.get_logger("upstream")

T = TypeVar("T")

_LINE_SHARE = 0.5  # of a question's time may go by in line: what is left must do for an answer, or time-outs would be ours


class _Asking(NamedTuple, Generic[T]):
    """One question: how to send it, given the seconds left, and until when."""

    interface: str
    send: Callable[[float], Awaitable[T]]
    ends_s: float
    allowed_s: float
    repeatable: bool


def _draw() -> float:
    return secrets.randbelow(1_000_000) / 1_000_000


class Guard:
    """One provider at one address. Belongs to one event loop."""

    def __init__(self, provider: str, settings: Upstream, mono_s: Callable[[], float]) -> None:
        self._provider = provider
        self._mono_s = mono_s
        self._admission = Admission(settings, mono_s(), _draw)
        self._permits = Permits(self._admission.concurrency.limit)
        self._state = self._admission.state
        self._told: tuple[State, int] | None = None
        self._is_retired = False
        self._tell()

    def __repr__(self) -> str:
        return f"<Guard: {self._admission.state.name}, {self._permits!r}>"

    async def ask(self, interface: str, send: Callable[[float], Awaitable[T]], timeout_s: float, *, repeatable: bool) -> T:
        """Send a question within `timeout_s`; `repeatable`: it may be sent once more if nothing of an answer came.

        Raises:
            ProviderNotAsked: it was not sent, because of what the provider did before.
            ProviderTimeout: it was not sent, because half of its time had passed before it could be.
            ProviderError: what `send` raised.
        """
        now_s = self._mono_s()
        refusal = self._admission.refusal(now_s)
        if refusal is not None:  # nobody waits in line to be refused
            raise self._refused(refusal)
        try:
            await self._permits.take(timeout_s * _LINE_SHARE)
        except TimeoutError:
            raise ProviderTimeout(self._provider) from None
        try:
            return await self._ask(_Asking(interface, send, now_s + timeout_s, timeout_s, repeatable))
        finally:
            self._permits.give_back()

    def retire(self) -> None:
        """Nobody will be asked any more through this: another tells of the provider, or nobody."""
        self._is_retired = True

    def forget(self) -> None:
        """The provider is gone: its metrics too."""
        self.retire()
        metrics.upstream_breaker.remove(self._provider)
        metrics.upstream_limit.remove(self._provider)

    async def _ask(self, asking: _Asking[T]) -> T:
        admitted = self._admission.admit(self._mono_s())
        if isinstance(admitted, Refusal):
            raise self._refused(admitted)
        try:
            return await self._send(asking, admitted)
        except ProviderUnavailable as error:
            again = self._again(asking) if error.before_answer else None
            if again is None:
                raise
        return await self._resend(asking, again)

    def _again(self, asking: _Asking[T]) -> Ticket | None:
        now_s = self._mono_s()
        if not asking.repeatable or now_s >= asking.ends_s:
            return None
        ticket = self._admission.admit_again(now_s)
        if ticket is None:
            metrics.upstream_retries.labels(self._provider, "DENIED").inc()
        return ticket

    async def _resend(self, asking: _Asking[T], ticket: Ticket) -> T:
        outcome = "FAILED"
        try:
            answer = await self._send(asking, ticket)
            outcome = "ANSWERED"
            return answer
        finally:
            metrics.upstream_retries.labels(self._provider, outcome).inc()

    async def _send(self, asking: _Asking[T], ticket: Ticket) -> T:
        """Send, and settle whatever happens: a ticket that is lost would be a probe that never ends."""
        began_s = self._mono_s()
        judgement: Judgement | None = None
        failure: ProviderError | None = None
        try:
            answer = await asking.send(asking.ends_s - began_s)
            judgement = ANSWERED
            return answer
        except ProviderError as error:
            judgement, failure = judge(error), error
            raise
        finally:
            took_s = self._mono_s() - began_s
            in_flight = self._permits.in_use
            self._settle(ticket, Ended(judgement, asking.interface, took_s, asking.allowed_s, in_flight, failure))

    def _settle(self, ticket: Ticket, ended: Ended) -> None:
        now_s = self._mono_s()
        self._admission.settle(ticket, ended, now_s)
        self._permits.resize(self._admission.concurrency.limit)
        if self._admission.refusal(now_s) is not None:
            self._permits.let_everybody()
        self._tell()

    def _refused(self, refusal: Refusal) -> ProviderNotAsked:
        metrics.upstream_refused.labels(self._provider, refusal.kind.reason).inc()
        return refusal.kind(self._provider, after=refusal.after, retry_after_s=refusal.retry_after_s)

    def _tell(self) -> None:
        """Tell monitoring, and log a change of the breaker."""
        state, limit = self._admission.state, self._admission.concurrency.limit
        if self._is_retired or self._told == (state, limit):
            return
        self._told = state, limit
        metrics.upstream_breaker.labels(self._provider).set(state)
        metrics.upstream_limit.labels(self._provider).set(limit)
        if state is not self._state:
            self._state = state
            tell = log.info if state is State.CLOSED else log.warning
            tell("circuit breaker", provider=self._provider, state=state.name)
