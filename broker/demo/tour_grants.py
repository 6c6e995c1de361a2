"""Steps of the tour about the life of a grant: requested, approved, used, revoked, and how soon that is seen. Nothing else.

Consumer and approver are systems with tokens of their own and speak to `GrantService` on the consumers' port.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from broker.client import AsyncClient, CallFailed, NotGranted, TokenSource
from broker.client.channel import aio_channel
from broker.demo.consumers import APPROVER
from broker.demo.interfaces import sample_arguments
from broker.demo.step import Step, Visitor, check
from broker.v1 import grants_pb2 as pb
from broker.v1.grants_pb2_grpc import GrantServiceStub

ASKING, INTERFACE, PURPOSE = "tax-hall", "national.education.degree", "tax-service"
CLERK, OFFICER = "clerk-7", "officer-3"
_LONGEST_S = 5.0


@contextlib.asynccontextmanager
async def _grants(visitor: Visitor, consumer: str) -> AsyncIterator[Any]:
    """Give a consumer's stub of `GrantService`."""
    tokens = TokenSource(consumer, visitor.demo.key_file(consumer))
    channel: grpc.aio.Channel = aio_channel(visitor.demo.target, tokens)
    async with channel:
        yield GrantServiceStub(channel)


async def _request(visitor: Visitor) -> pb.Grant:
    """Ask for the grant; asking again with the same request id gives the same grant."""
    terms = pb.GrantTerms(
        consumer=ASKING,
        interface=INTERFACE,
        purposes=[PURPOSE],
        fields=["name", "degree"],
        legal_basis="《个人所得税专项附加扣除暂行办法》第八条",
        rate_per_second=1000,
        burst=1000,
        quota_per_day=10_000,
    )
    today = dt.datetime.now(dt.UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    terms.valid_from.FromDatetime(today)
    terms.valid_until.FromDatetime(today + dt.timedelta(days=365))
    async with _grants(visitor, ASKING) as grants:
        answer = await grants.RequestGrant(pb.RequestGrantRequest(terms=terms, actor=CLERK, request_id="the-tour"))
    return answer.grant  # type: ignore[no-any-return]


async def _ask(client: AsyncClient, visitor: Visitor) -> Any:
    arguments = sample_arguments(visitor.demo.city, INTERFACE, 1)[0]
    return await client.call(INTERFACE, arguments, purpose=PURPOSE)


async def _until(holds: Callable[[], Any], what: str) -> float:
    """Call again and again until it is so; returns how many milliseconds that took."""
    began = time.perf_counter()
    while not await holds():
        check(time.perf_counter() - began < _LONGEST_S, what)
    return (time.perf_counter() - began) * 1000


async def requested(visitor: Visitor) -> Step:
    """A consumer asks for a grant; until somebody has decided, nothing is answered."""
    grant = await _request(visitor)
    check(grant.state == pb.GRANT_STATE_REQUESTED, "a requested grant must wait for the provider")
    async with visitor.client(ASKING) as client:
        with contextlib.suppress(NotGranted):
            await _ask(client, visitor)
            check(False, "a grant that was only requested must not be in force")
    decide_by = grant.decide_by.ToDatetime(tzinfo=dt.UTC)
    return Step(
        title=f"{ASKING} requests {INTERFACE}",
        result="REQUESTED",
        notes=(f"refused meanwhile; the provider has to decide by {decide_by:%Y-%m-%d %H:%M} UTC, working days counted",),
    )


async def approved(visitor: Visitor) -> Step:
    """The provider's approver approves, and the next call is answered."""
    grant = await _request(visitor)
    async with _grants(visitor, APPROVER) as grants, visitor.client(ASKING) as client:
        await grants.ApproveGrant(pb.ApproveGrantRequest(id=grant.id, actor=OFFICER, reason="依法共享"))

        async def answered() -> bool:
            with contextlib.suppress(NotGranted):
                answer = await _ask(client, visitor)
                check(set(answer.fields) == {"name", "degree"}, "only the granted fields may be answered")
                return True
            return False

        waited_ms = await _until(answered, "an approved grant must be in force")
    return Step(title=f"{APPROVER} approves, {ASKING} calls", result="FOUND", time_ms=waited_ms, notes=("name, degree",))


async def revoked(visitor: Visitor) -> Step:
    """Revoked: refused at once, although the answer is cached."""
    grant = await _request(visitor)
    async with _grants(visitor, APPROVER) as grants, visitor.client(ASKING) as client:
        cached = (await _ask(client, visitor)).provenance.source
        check(cached == "CACHE", "the answer must be cached, so that its refusal shows something")

        async def refused() -> bool:
            try:
                await _ask(client, visitor)
            except CallFailed as failure:
                check(isinstance(failure, NotGranted), "what is revoked must be refused as not granted")
                return True
            return False

        began = time.perf_counter()
        await grants.RevokeGrant(pb.RevokeGrantRequest(id=grant.id, actor=OFFICER, reason="用途终止"))
        await _until(refused, "a revoked grant must be refused")
        waited_ms = (time.perf_counter() - began) * 1000
        check(waited_ms < 1000, "a revocation must be seen within a second")
        story = (await grants.GetGrant(pb.GetGrantRequest(id=grant.id))).grant
    steps = " → ".join(pb.GrantState.Name(step.state).removeprefix("GRANT_STATE_") for step in story.transitions)
    return Step(
        title=f"{APPROVER} revokes, {ASKING} calls again",
        result="PERMISSION_DENIED",
        time_ms=waited_ms,
        notes=("time from the decision to the first refusal, of an answer that is cached", f"its history: {steps}"),
    )


LIFE_OF_A_GRANT = (requested, approved, revoked)
