"""The path of a search, read top to bottom: who asks, what it may see, who is meant, what it costs, what is shown.

It is the path of a call (exchange.py) for a subject whose key is unknown or wrong: the same identity, grants and limits. The
search itself is counted before anybody is looked for, and never given back; then each candidate is a subject, counted before
any is shown. What must not go in here: how candidates are found and weighed (records/), protobuf messages (services/).
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import msgspec

from broker.errors import InvalidRequest, PolicyChanged, VerdictOnly, Violation
from broker.exchange import Exchange
from broker.model.access import Access
from broker.model.call import Authority, Candidate, Peer, Remaining, Request, Searched, Times
from broker.model.catalogue import BaseDeclaration, Interface, RecordsOperation
from broker.model.question import check_known, subject_of, weigh
from broker.model.snapshot import Snapshot
from broker.policy.authorise import authorise, resolve
from broker.records.answer import answered
from broker.records.likeness import is_readable
from broker.records.search import Found, advice, searched_fields
from broker.records.verdicts import compare

_MOST_CANDIDATES = 20
_EVERYDAY_CANDIDATES = 5
_VERDICT_DIGITS = 2  # of a probability, where no data is shown: more would tell how nearly an id was guessed


@dataclass(frozen=True)
class Sought:
    """One search, decided: what of whom to look for in which base, and what of it may be shown."""

    snapshot: Snapshot
    times: Times
    interface: Interface
    base: BaseDeclaration
    operation: RecordsOperation
    authority: Authority
    shows_data: bool  # else only verdicts
    request: Request


@dataclass(frozen=True)
class Bounds:
    """How many candidates a consumer wants, and how probable they are to be; 0: what is usual."""

    most: int
    least_probability: float


async def search(exchange: Exchange, request: Request, bounds: Bounds, peer: Peer) -> Searched:
    """Return who may be meant, the most probable first; each is put down before any is shown.

    Raises:
        BrokerError: any of its kinds; each says whose fault it is and how it is answered.
    """
    access = Access(request=request, began_ns=time.monotonic_ns())
    try:
        sought, found, remaining = await _search(exchange, access, bounds, peer)
        shown = sought.authority.fields if sought.shows_data else sorted(request.known or ())
        audit_id = await exchange.audit.found(access, [subject_of(sought.interface, one.record) for one in found], shown)
        _check_still(exchange, access, sought, peer)
    except BaseException as error:
        await exchange.audit.failed(access, error)
        raise
    return _searched(sought, tuple(_shown(sought, one) for one in found), remaining, audit_id)


async def _search(exchange: Exchange, access: Access, bounds: Bounds, peer: Peer) -> tuple[Sought, Sequence[Found], Remaining]:
    """Decide, pay, look, and pay for whom was found; again where another snapshot has come into force meanwhile."""
    weigh(access.request, exchange.config.limits)
    _check_bounds(bounds)
    paid: tuple[int, int] | None = None
    while True:
        sought = _decide(exchange, access, peer)
        if paid != sought.authority.limits:
            remaining = await exchange.limits.spend_on_search(sought.snapshot, sought.authority, sought.times)
            paid = sought.authority.limits
        found = _find(exchange, sought, bounds)
        await _admit(exchange, sought, found)
        if sought.snapshot is exchange.snapshot:
            return sought, found, remaining


def _check_still(exchange: Exchange, access: Access, sought: Sought, peer: Peer) -> None:
    """Who has been put down may not be shown where a snapshot that came into force meanwhile would not show the same of them.

    Raises:
        PolicyChanged, CallerError: it would not.
    """
    if sought.snapshot is exchange.snapshot:
        return
    again = _decide(exchange, access, peer)
    if _told(again) != _told(sought):
        raise PolicyChanged


def _told(sought: Sought) -> tuple[object, ...]:
    """What decides what is shown of whom, and who pays for it."""
    authority = sought.authority
    return authority.fields, authority.limits, sought.shows_data, sought.interface.operation, sought.base


def _check_bounds(bounds: Bounds) -> None:
    violations = []
    if not 0 <= bounds.most <= _MOST_CANDIDATES:
        violations.append(Violation("max_candidates", f"must be from 1 to {_MOST_CANDIDATES}, or 0"))
    if not 0 <= bounds.least_probability <= 1:
        violations.append(Violation("min_probability", "must be from 0 to 1"))
    if violations:
        raise InvalidRequest(*violations)


def _decide(exchange: Exchange, access: Access, peer: Peer) -> Sought:
    """Who asks, by which grant, for what; by the snapshot in force."""
    snapshot, times, request = exchange.snapshot, exchange.clock(), access.request
    access.snapshot_version = snapshot.version
    consumer = exchange.identifier.identify(peer, snapshot, times)
    access.consumer = consumer.id
    interface = access.interface = resolve(snapshot, request)
    try:
        authority, shows_data = authorise(snapshot, consumer, request, times), True
    except VerdictOnly:
        verdicts = msgspec.structs.replace(request, asserted=request.known)
        authority, shows_data = authorise(snapshot, consumer, verdicts, times), False
    access.authority = authority
    operation = interface.operation
    if not isinstance(operation, RecordsOperation) or not operation.search:
        raise InvalidRequest(Violation("base", "must be a record base that may be searched"))
    base = snapshot.bases[operation.base]
    check_known(request, authority.fields, searched_fields(base, operation, authority.fields))
    _check_readable(request, interface)
    return Sought(snapshot, times, interface, base, operation, authority, shows_data, request)


def _check_readable(request: Request, interface: Interface) -> None:
    """A name with signs in place of characters stands for many, and they could be found out one by one."""
    unreadable = [
        Violation(f"known.{name}", "must not have signs in place of characters")
        for name, text in sorted((request.known or {}).items())
        if not is_readable(interface.answer[name].type, text)
    ]
    if unreadable:
        raise InvalidRequest(*unreadable)


def _find(exchange: Exchange, sought: Sought, bounds: Bounds) -> Sequence[Found]:
    known = {sought.operation.fields.get(name, name): text for name, text in (sought.request.known or {}).items()}
    return exchange.searches.search(sought.base, known, bounds.most or _EVERYDAY_CANDIDATES, bounds.least_probability)


async def _admit(exchange: Exchange, sought: Sought, found: Sequence[Found]) -> None:
    subjects = [subject_of(sought.interface, one.record) for one in found]
    await exchange.limits.admit(sought.snapshot, sought.authority, subjects, sought.times)


def _answer(sought: Sought, found: Found) -> Mapping[str, object]:
    return answered(sought.interface, sought.operation, found.record, sought.authority.fields)


def _shown(sought: Sought, found: Found) -> Candidate:
    """Show a candidate: verdicts on what was known, and where the grant gives data what it gives."""
    held, known = _answer(sought, found), sought.request.known or {}
    fields = {name: held.get(name) for name in sought.authority.fields} if sought.shows_data else None
    return Candidate(
        probability=found.probability if sought.shows_data else round(found.probability, _VERDICT_DIGITS),
        decision=found.decision,
        verdicts={name: compare(sought.interface, name, text, held.get(name)) for name, text in known.items()},
        payload=msgspec.json.encode(fields) if fields is not None else b"",
        guards=found.guards,
    )


def _searched(sought: Sought, candidates: tuple[Candidate, ...], remaining: Remaining, audit_id: str) -> Searched:
    return Searched(
        candidates=candidates,
        decision=advice(candidates),
        interface=sought.interface,
        level=sought.snapshot.providers[sought.interface.provider].level,
        snapshot_version=sought.snapshot.version,
        remaining=remaining,
        audit_id=audit_id,
    )
