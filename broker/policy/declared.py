"""What a catalogue directory says of grants, against what has been decided about them: which come into force, which do not.

A declared grant that was paused, revoked or has expired stays out of force however often the directory is applied; one that
was merely taken out of the directory may be put back. Requested grants end when the catalogue loses what they are about. The
decision is pure and about all grants at once; writing it down is
one statement a table. What must not go in here: what is in force (store.py), and what people decide (workflow.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Iterator, Mapping, Set

import msgspec
from sqlalchemy import Connection

from broker.errors import CatalogueRefused
from broker.model.catalogue import Catalogue, Grant, Interface
from broker.policy import lives
from broker.policy.lives import DIRECTORY, REMOVED, WORKFLOW, By, Known, Life, State, Step

_OPEN = (State.REQUESTED, State.APPROVED, State.PAUSED)
DECLARED, CHANGED, TAKEN_OUT = "declared in the catalogue directory", "terms changed", "removed from the directory"
HOLDER_GONE = "its consumer was removed from the catalogue"
INTERFACE_GONE = "its interface was removed from the catalogue"
INTERFACE_MOVED = "its interface is another provider's now"


class Plan(msgspec.Struct, frozen=True):
    """What applying a directory does to the lives of grants."""

    begun: tuple[tuple[Life, bytes], ...]  # declared for the first time, and their documents
    steps: tuple[Step, ...]
    moved: tuple[tuple[str, str], ...]  # grants whose interface has another provider now, and that provider
    withheld: tuple[str, ...]  # declared, but not to be in force
    ended: tuple[str, ...]  # requested, and revoked because whom or what they are about has gone
    paused: tuple[str, ...]  # declared and paused, and declared otherwise now, or no more, or again


def plan(known: Mapping[str, Known], catalogue: Catalogue, documents: Mapping[str, bytes], now: dt.datetime) -> Plan:
    """Decide what becomes of every grant; `documents` are those of the catalogue's grants, by id.

    Raises:
        CatalogueRefused: a declared grant has the id of a requested one, or of one that was another consumer's or interface's.
    """
    problems = tuple(_problems(known, catalogue.grants))
    if problems:
        raise CatalogueRefused(problems)
    provided = providers_of(catalogue.interfaces)
    new = (grant for grant in catalogue.grants if grant.id not in known)
    begun = tuple((_begun(grant, provided.get(grant.interface, ""), now), documents[grant.id]) for grant in new)
    withheld: list[str] = []
    steps: list[Step] = []
    for grant in catalogue.grants:
        life = known.get(grant.id)
        if life is not None:
            steps += _declared(life, grant, documents[grant.id], now)
            withheld += [grant.id] if _is_withheld(life, grant, now) else []
    for key, life in known.items():
        if key not in documents and life.origin == DIRECTORY:
            steps += _taken_out(key, life)
    holders = {consumer.id for consumer in catalogue.consumers} | {group.id for group in catalogue.groups}
    ended = tuple(_ended(known, holders, provided))
    moved = tuple(_moved(known, provided))
    return Plan(
        begun,
        steps=(*steps, *ended),
        moved=moved,
        withheld=tuple(sorted(withheld)),
        ended=tuple(sorted(step.id for step in ended)),
        paused=tuple(sorted(step.id for step in steps if step.state is State.PAUSED)),
    )


def write(connection: Connection, decided: Plan, by: By) -> None:
    """Write a plan down, in the transaction in which it was made."""
    if decided.begun:
        lives.begin(connection, decided.begun)
        lives.record_first(connection, by, DECLARED)
    lives.record(connection, decided.steps, by)
    lives.move(connection, decided.moved)


def providers_of(interfaces: tuple[Interface, ...]) -> dict[str, str]:
    """Return the provider of the newest version of every interface."""
    return {interface.id: interface.provider for interface in sorted(interfaces, key=lambda i: i.version)}


def _problems(known: Mapping[str, Known], grants: Iterable[Grant]) -> Iterator[str]:
    """An id stands for one contract between two parties, with one history that both may see; terms may change, parties not."""
    for grant in sorted(grants, key=lambda grant: grant.id):
        life = known.get(grant.id)
        if life is None:
            continue
        if life.origin == WORKFLOW:
            yield f"grants ({grant.id}).id: is that of a requested grant; choose another"
            continue
        for field in ("consumer", "interface"):
            if getattr(grant, field) != getattr(life, field):
                yield f"grants ({grant.id}).{field}: is another than it was under this id; give the new grant another id"


def _begun(grant: Grant, provider: str, now: dt.datetime) -> Life:
    return Life(
        id=grant.id,
        origin=DIRECTORY,
        state=State.APPROVED,
        consumer=grant.consumer,
        interface=grant.interface,
        provider=provider,
        terms=grant,
        requested_at=now,
    )


def _is_withheld(life: Known, grant: Grant, now: dt.datetime) -> bool:
    if life.state is State.EXPIRED:
        return grant.valid_until <= now  # with a new end it may begin anew
    return life.state is State.PAUSED or (life.state is State.REVOKED and life.origin == DIRECTORY)


def _declared(life: Known, grant: Grant, document: bytes, now: dt.datetime) -> list[Step]:
    """What a grant that stands in the directory goes through; nothing where all is as it was, or what ended stays ended."""
    ended = life.state is not State.PAUSED and _is_withheld(life, grant, now)
    back = life.origin == REMOVED or life.state is State.EXPIRED
    if ended or not (back or document != life.document):
        return []
    state = State.PAUSED if life.state is State.PAUSED else State.APPROVED
    return [Step(grant.id, state, DIRECTORY, document, DECLARED if back else CHANGED)]


def _taken_out(key: str, life: Known) -> list[Step]:
    """What was decided stays so; but what is paused cannot be approved again while the directory does not have it."""
    after = {State.APPROVED: State.REVOKED, State.PAUSED: State.PAUSED}.get(life.state)
    return [Step(key, after, REMOVED, life.document, TAKEN_OUT)] if after else []


def _ended(known: Mapping[str, Known], holders: Set[str], provided: Mapping[str, str]) -> Iterator[Step]:
    """What was requested is between a consumer and a provider: it ends where one of them is not what it was."""
    for key, life in known.items():
        if life.origin != WORKFLOW or life.state not in _OPEN:
            continue
        if life.consumer not in holders:
            yield Step(key, State.REVOKED, WORKFLOW, life.document, HOLDER_GONE)
        elif life.interface not in provided:
            yield Step(key, State.REVOKED, WORKFLOW, life.document, INTERFACE_GONE)
        elif provided[life.interface] != life.provider:
            yield Step(key, State.REVOKED, WORKFLOW, life.document, INTERFACE_MOVED)


def _moved(known: Mapping[str, Known], provided: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """What is declared goes along with its interface; what was requested stays with the provider that was asked."""
    for key, life in known.items():
        provider = provided.get(life.interface, life.provider)
        if provider != life.provider and life.origin != WORKFLOW:
            yield key, provider
