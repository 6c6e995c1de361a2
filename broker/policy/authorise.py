"""Steps 2 and 3 of a call: which interface is meant, and which grant covers it. Pure: a snapshot, a request and a time.

Denied by default. An interface that does not exist and one that is not granted raise the same error, so that nobody can
learn what exists by asking.
"""

from __future__ import annotations

from broker.errors import NotGranted
from broker.model.call import Authority, Request
from broker.model.catalogue import Consumer, Interface
from broker.model.snapshot import Snapshot, Term


def resolve(snapshot: Snapshot, request: Request) -> Interface:
    """Return the interface version that a request names.

    Raises:
        NotGranted: there is none; the text is that of a missing grant.
    """
    interface = snapshot.interfaces.get((request.interface, request.version))
    if interface is None:
        raise NotGranted
    return interface


def authorise(snapshot: Snapshot, consumer: Consumer, interface: Interface, request: Request, now_ms: int) -> Authority:
    """Return the first grant, in order of its id, that covers consumer, interface, purpose, matter and time.

    Raises:
        NotGranted: no grant covers the call.
    """
    for term in snapshot.terms.get((consumer.id, interface.id, interface.version), ()):
        if _covers(term, request, now_ms):
            return term.authority
    raise NotGranted


def _covers(term: Term, request: Request, now_ms: int) -> bool:
    return (
        term.valid_from_ms <= now_ms < term.valid_until_ms
        and request.purpose in term.purposes
        and (not term.matters or request.matter in term.matters)
        and bool(term.authority.fields)
    )
