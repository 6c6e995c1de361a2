"""THE path of a call, read top to bottom: one function, one step a line (architecture §4).

The steps themselves live in the capability folders and are pure where they decide. What must not go in here: protobuf messages
(`services/` translates), anything of one transport or one provider, and a second way to answer a call.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import time
import zoneinfo
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

import msgspec
import structlog

from broker._native.cachekey import NOT_FOUND, Entry, pack_entry
from broker.audit.accesses import Accesses, NoLog
from broker.cache.freshness import State, bounds, judge
from broker.cache.refresh import Refreshes
from broker.cache.store import CacheStore, Tag, Tags
from broker.config import Config
from broker.errors import (
    AuditOverloaded,
    AuditUnavailable,
    BrokerError,
    CallerError,
    DeadlineExceeded,
    OutcomeUnknown,
    PolicyChanged,
    ProviderNotAsked,
)
from broker.model.access import Access
from broker.model.body import body, payload
from broker.model.call import Answer, Authority, Matched, Peer, Question, Record, Request, Source, Times
from broker.model.catalogue import Interface, Provider, RecordsOperation
from broker.model.question import answer_key, canonicalise, check_asserted, weigh
from broker.model.snapshot import Snapshot, with_standing
from broker.policy.authorise import authorise, resolve
from broker.policy.identify import Identifier
from broker.policy.spend import Limits
from broker.records.answer import answered
from broker.records.search import Searches
from broker.records.store import Bases
from broker.records.verdicts import day_of
from broker.records.verdicts import judge as judge_record
from broker.telemetry import metrics
from broker.upstream.flight import SingleFlight
from broker.upstream.providers import Providers

log = structlog.get_logger("exchange")


@dataclass
class Exchange:
    """The parts that a call passes through, and the snapshot in force. One to a core."""

    config: Config
    cache: CacheStore
    identifier: Identifier
    limits: Limits
    providers: Providers
    bases: Bases
    searches: Searches
    snapshot: Snapshot
    audit: Accesses | NoLog = field(default_factory=NoLog)
    flights: SingleFlight = field(default_factory=SingleFlight)
    clock: Callable[[], Times] = lambda: Times.exactly(time.time_ns() // 1_000_000)
    mono_s: Callable[[], float] = time.monotonic
    purges: int = 0  # a question asked before a purge must not be answered, or cached, after it
    refreshes: Refreshes = field(default_factory=Refreshes)
    refreshing: set[asyncio.Task[None]] = field(default_factory=set)  # asyncio itself holds tasks only weakly


@dataclass(frozen=True)
class Asked:
    """One call, decided: what to ask whom, for whom, by which snapshot, and under which key the answer is cached."""

    snapshot: Snapshot
    times: Times
    question: Question
    provider: Provider
    authority: Authority
    access: Access
    request: Request
    key: bytes

    @property
    def max_age_ms(self) -> int | None:
        """The least of what the consumer accepts and what its grant allows."""
        stated = [age for age in (self.request.max_age_ms, self.authority.cache_max_age_ms) if age is not None]
        return min(stated, default=None)


async def call(exchange: Exchange, request: Request, peer: Peer, client_timeout_s: float | None) -> Answer:
    """Answer one call, and put it down before it is answered, whatever comes of it.

    Raises:
        BrokerError: any of its kinds; each says whose fault it is and how it is answered.
    """
    access = Access(request=request, began_ns=time.monotonic_ns())
    try:
        asked, answer = await _call(exchange, access, peer, client_timeout_s)
        with _unless_done(access):
            audit_id = await exchange.audit.answered(access, answer)
        _check_still(exchange, peer, asked, answer)
    except BaseException as error:
        with _unless_done(access):
            await exchange.audit.failed(access, error)
        raise
    return msgspec.structs.replace(answer, audit_id=audit_id)


@contextlib.contextmanager
def _unless_done(access: Access) -> Iterator[None]:
    """Who is told to ask again, because the log cannot be written, would have it done twice."""
    try:
        yield
    except (AuditUnavailable, AuditOverloaded):
        if access.is_done:
            raise OutcomeUnknown from None
        raise


async def _call(exchange: Exchange, access: Access, peer: Peer, client_timeout_s: float | None) -> tuple[Asked, Answer]:
    """Steps 1 to 9: decide, pay, answer; again from the start where another snapshot has come into force meanwhile."""
    request = access.request
    weigh(request, exchange.config.limits)
    ends_s = None if client_timeout_s is None else exchange.mono_s() + client_timeout_s
    asked = _decide(exchange, access, peer)
    if asked.question.interface.side_effect and request.previous_attempts:
        raise OutcomeUnknown
    paid, answer, remaining = (0, 0), None, None
    while answer is None or paid != asked.authority.limits:
        if paid != asked.authority.limits:
            remaining = await exchange.limits.spend(asked.snapshot, asked.authority, asked.question.subject, asked.times)
            paid = asked.authority.limits
        else:
            answer = await _answer(exchange, asked, ends_s)
        if asked.snapshot is not exchange.snapshot:
            asked, answer = _decide_again(exchange, peer, asked, answer)
        if answer is not None and asked.question.interface.side_effect:
            break  # it has been done, and was paid for when it was
    told = {"interface": asked.question.interface, "snapshot_version": asked.snapshot.version, "remaining": remaining}
    return asked, msgspec.structs.replace(answer, **told)


def _check_still(exchange: Exchange, peer: Peer, asked: Asked, answer: Answer) -> None:
    """What was put down leaves only as a snapshot that is in force by now would give it. Raises PolicyChanged, CallerError."""
    if asked.snapshot is exchange.snapshot:
        return
    again, kept = _decide_again(exchange, peer, asked, answer)
    is_paid = asked.question.interface.side_effect or again.authority.limits == asked.authority.limits
    if kept is None or not is_paid:  # by another grant it would have to be paid for, and put down, again
        raise PolicyChanged


def _decide_again(exchange: Exchange, peer: Peer, asked: Asked, answer: Answer | None) -> tuple[Asked, Answer | None]:
    """Another snapshot came into force while the call waited: an answer is only kept if that one gives the same.

    Raises:
        OutcomeUnknown: the provider has done what was asked, and the answer may not be given any more.
    """
    done = answer is not None and asked.question.interface.side_effect
    try:
        again = _decide(exchange, asked.access, peer)
    except CallerError as error:
        raise (OutcomeUnknown() if done else error) from None
    if again.key == asked.key:
        return again, answer
    if done:
        raise OutcomeUnknown
    return again, None


def _decide(exchange: Exchange, access: Access, peer: Peer) -> Asked:
    """Steps 1 to 4, by the snapshot in force; what is found out is noted for the log as it is."""
    snapshot, times, request = exchange.snapshot, exchange.clock(), access.request
    access.snapshot_version = snapshot.version
    consumer = exchange.identifier.identify(peer, snapshot, times)
    access.consumer = consumer.id
    interface = access.interface = resolve(snapshot, request)
    authority = access.authority = authorise(snapshot, consumer, request, times)
    question = canonicalise(snapshot, interface, request)
    access.subject = question.subject
    if request.asserted is not None:
        check_asserted(request.asserted, interface, authority.fields)
        authority = with_standing(authority, interface.standing)
    access.key = answer_key(question, request.encoding, authority.mask)
    provider = snapshot.providers[interface.provider]
    return Asked(snapshot, times, question, provider, authority, access, request, access.key)


async def match(exchange: Exchange, request: Request, peer: Peer, client_timeout_s: float | None) -> Matched:
    """Compare what is asserted with the record that a call would answer from, under the same grants and limits.

    Raises:
        BrokerError: as `call` does.
    """
    answer = await call(exchange, request, peer, client_timeout_s)
    held = payload(answer) if answer.found else None
    today = day_of(exchange.clock().wall_ms, zoneinfo.ZoneInfo(exchange.config.policy.time_zone))
    return Matched(answer=answer, comparison=judge_record(answer.interface, request.asserted or {}, held, today))


async def _answer(exchange: Exchange, asked: Asked, ends_s: float | None) -> Answer:
    """Steps 6 to 11: from its base, or the cache where that may be, else from the provider, else stale where that may be."""
    interface = asked.question.interface
    if isinstance(interface.operation, RecordsOperation):
        return _from_base(exchange, asked, interface.operation)
    now_ms, purges = exchange.clock().wall_ms, exchange.purges
    entry = exchange.cache.read(asked.key) if interface.freshness.cacheable else None
    state = _judge(asked, entry, now_ms)
    if entry and state is State.FRESH:
        return _cached(asked, entry, now_ms, stale=False)
    if entry and state is State.STALE_REVALIDATE:
        _refresh(exchange, asked)
        return _cached(asked, entry, now_ms, stale=True)
    try:
        return await _ask_once(exchange, asked, _timeout_s(exchange, interface, ends_s))
    except BrokerError as error:
        now_ms = exchange.clock().wall_ms  # the provider may have taken its time to fail: judged, and its age told, as of now
        usable = _judge(asked, entry, now_ms) is State.STALE_IF_ERROR
        if entry and usable and error.stale_allowed and purges == exchange.purges:
            return _cached(asked, entry, now_ms, stale=True)
        raise


def _from_base(exchange: Exchange, asked: Asked, operation: RecordsOperation) -> Answer:
    """Answer from the record base that the interface names, as it is now."""
    question = asked.question
    held = exchange.bases.find(asked.snapshot.bases[operation.base], dict(question.arguments))
    fields = None if held is None else answered(question.interface, operation, held, asked.authority.fields)
    record = Record(fields=fields, fetched_at_ms=exchange.clock().wall_ms)
    return Answer(
        body=body(question.interface, asked.provider, record, asked.authority.fields, asked.request.encoding),
        source=Source.RECORDS,
        age_ms=0,
        stale=False,
        found=held is not None,
        interface=question.interface,
        level=asked.provider.level,
    )


def _judge(asked: Asked, entry: Entry | None, now_ms: int) -> State:
    """What may be done with a cached answer, by its interface, by the consumer, and by the grant."""
    state = judge(entry, now_ms, asked.max_age_ms) if entry else State.DEAD
    return state if state is State.FRESH or asked.authority.stale_allowed else State.DEAD


def _cached(asked: Asked, entry: Entry, now_ms: int, *, stale: bool) -> Answer:
    return Answer(
        body=entry.body,
        source=Source.CACHE,
        age_ms=max(0, now_ms - entry.stored_at),
        stale=stale,
        found=not entry.flags & NOT_FOUND,
        interface=asked.question.interface,
        level=asked.provider.level,
    )


def _longest_s(exchange: Exchange, interface: Interface) -> float:
    return min(interface.timeout_ms, exchange.config.grpc.default_timeout_ms) / 1000


def _timeout_s(exchange: Exchange, interface: Interface, ends_s: float | None) -> float:
    """Return how long this caller waits: the least of the client's time less what our own answer needs, interface, default.

    Raises:
        DeadlineExceeded: there is no time left to ask anybody.
    """
    longest = _longest_s(exchange, interface)
    if ends_s is None:
        return longest
    left = ends_s - exchange.mono_s() - exchange.config.upstream.deadline_margin_ms / 1000
    if left <= 0:
        raise DeadlineExceeded
    return min(longest, left)


async def _ask_once(exchange: Exchange, asked: Asked, timeout_s: float) -> Answer:
    """Ask the provider, or wait with those who already do. The question itself has the interface's time, not one caller's."""
    interface = asked.question.interface
    flight = _flight_key(exchange, asked.key, shared=not interface.side_effect)
    answer, joined = await exchange.flights.share(flight, lambda: _fill(exchange, asked), timeout_s)
    if joined:
        metrics.flight_followers.inc()
    return answer


def _flight_key(exchange: Exchange, key: bytes, *, shared: bool) -> bytes:
    """Calls that are the same share a flight, but not across a purge, and never where asking has a side effect."""
    return key + (exchange.purges.to_bytes(8) if shared else secrets.token_bytes(16))


async def _fill(exchange: Exchange, asked: Asked) -> Answer:
    """Get the record, make the answer that these fields and this encoding need, and cache it if that is allowed."""
    interface = asked.question.interface
    flight = _flight_key(exchange, asked.question.key, shared=not interface.side_effect)
    longest_s, purges = _longest_s(exchange, interface), exchange.purges
    record, _ = await exchange.flights.share(flight, lambda: _fetch(exchange, asked, longest_s), longest_s)
    encoded = body(interface, asked.provider, record, asked.authority.fields, asked.request.encoding)
    if purges == exchange.purges:
        _store(exchange, asked, record, encoded)
    return Answer(
        body=encoded,
        source=Source.UPSTREAM,
        age_ms=0,
        stale=False,
        found=record.fields is not None,
        interface=interface,
        level=asked.provider.level,
        intent=record.intent,
        provider_us=record.took_us,
    )


async def _fetch(exchange: Exchange, asked: Asked, longest_s: float) -> Record:
    """Ask the provider, which is put down first, with the margin kept back: its time-out is what the waiters hear of."""
    intent = await exchange.audit.intended(asked.access)
    asked.access.is_done = asked.question.interface.side_effect
    began, outcome, purges = exchange.mono_s(), "CANCELLED", exchange.purges
    timeout_s = longest_s - exchange.config.upstream.deadline_margin_ms / 1000
    try:
        record = await exchange.providers.ask(asked.question, asked.provider, timeout_s)
        outcome = "NOT_FOUND" if record.fields is None else "FOUND"
    except BrokerError as error:
        outcome = error.reason
        if not isinstance(error, ProviderNotAsked):  # which is counted, and said once
            log.warning("provider failed", provider=asked.provider.id, interface=asked.question.interface.id, reason=outcome)
        raise
    finally:
        metrics.upstream_seconds.labels(asked.provider.id, outcome).observe(exchange.mono_s() - began)
    if record.fields is None and purges == exchange.purges:
        _forget(exchange, asked.question)
    return msgspec.structs.replace(record, intent=intent, took_us=round((exchange.mono_s() - began) * 1_000_000))


def _forget(exchange: Exchange, question: Question) -> None:
    """The record is gone: what was cached of it, under whatever mask or encoding, must not outlive it."""
    while exchange.cache.purge_some(Tag.QUESTION, question.key):
        pass


def _store(exchange: Exchange, asked: Asked, record: Record, encoded: bytes) -> None:
    interface, found = asked.question.interface, record.fields is not None
    spread = secrets.randbelow(2001) / 1000 - 1
    times = bounds(interface.freshness, found, record.fetched_at_ms, spread)
    if times is None or interface.side_effect:
        return
    flags = 0 if found else NOT_FOUND
    entry = pack_entry(
        asked.key, flags, record.fetched_at_ms, times.fresh_until, times.revalidate_until, times.error_until, encoded
    )
    tags = Tags(interface=interface.id, provider=asked.provider.id, subject=asked.question.subject, question=asked.question.key)
    exchange.cache.write(asked.key, entry, ends_at_ms=times.ends_at, tags=tags)


def _refresh(exchange: Exchange, asked: Asked) -> None:
    """Ask in the background; the next caller sees the new answer. Asked once however many see the stale one."""
    if exchange.refreshes.begin(asked.key, exchange.mono_s()):
        task = asyncio.create_task(_refreshed(exchange, asked))
        exchange.refreshing.add(task)
        task.add_done_callback(exchange.refreshing.discard)


async def _refreshed(exchange: Exchange, asked: Asked) -> None:
    outcome = "INTERNAL"
    try:
        await _ask_once(exchange, asked, _longest_s(exchange, asked.question.interface))
        outcome = "OK"
    except BrokerError as error:
        outcome = error.reason
    except Exception:
        log.exception("refresh failed", interface=asked.question.interface.id)
    finally:
        exchange.refreshes.ended(asked.key, exchange.mono_s(), ok=outcome == "OK")
        metrics.refreshes.labels(outcome).inc()


async def purge(exchange: Exchange, tag: Tag, names: Iterable[str | bytes]) -> int:
    """Remove cached answers by a tag, letting calls through between batches; what is on its way is not cached either."""
    exchange.purges += 1
    removed = 0
    for name in names:
        while batch := exchange.cache.purge_some(tag, name):
            removed += batch
            await asyncio.sleep(0)
    return removed


def purge_all(exchange: Exchange) -> int:
    """Remove every cached answer; what is on its way from a provider is not cached either."""
    exchange.purges += 1
    return exchange.cache.clear()
