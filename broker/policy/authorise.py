"""Steps 2 and 3 of a call: which interface is meant, and which grant covers it. The decision is native; this names it.

Denied by default. An interface that does not exist and one that is not granted raise the same error, so that nobody can
learn what exists by asking. Only who holds a grant that otherwise covers the call is told what it lacks.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Mapping

from broker.errors import CallerError, InvalidRequest, NotGranted, OutsideHours, VerdictOnly, Violation
from broker.model.call import Authority, Request, Times
from broker.model.catalogue import Consumer, Interface
from broker.model.snapshot import Snapshot


class Verdict(enum.IntEnum):
    """How far the grant that comes nearest to covering a call gets (`broker/_native/policy.pyi`)."""

    NO_GRANT = 0
    OUTSIDE_HOURS = 1
    ONLY_VERDICT = 2
    NEEDS_OPERATOR = 3
    NEEDS_DEVICE = 4
    ALLOWED = 5


class Says(enum.IntFlag):
    """What a call says of itself (`broker/_native/policy.pyi`)."""

    OPERATOR = 1
    DEVICE = 2
    VERDICT = 4


_REFUSALS: Mapping[Verdict, Callable[[], CallerError]] = {
    Verdict.NO_GRANT: NotGranted,
    Verdict.OUTSIDE_HOURS: OutsideHours,
    Verdict.ONLY_VERDICT: VerdictOnly,
    Verdict.NEEDS_OPERATOR: lambda: InvalidRequest(Violation("operator", "is required by the grant")),
    Verdict.NEEDS_DEVICE: lambda: InvalidRequest(Violation("device-id", "is required by the grant, as metadata")),
}


def resolve(snapshot: Snapshot, request: Request) -> Interface:
    """Return the interface version that a request names.

    Raises:
        NotGranted: there is none; the text is that of a missing grant.
    """
    interface = snapshot.interfaces.get((request.interface, request.version))
    if interface is None:
        raise NotGranted
    return interface


def authorise(snapshot: Snapshot, consumer: Consumer, request: Request, times: Times) -> Authority:
    """Return the first grant, in order of its id, that covers consumer, interface, purpose, matter, unit and time.

    Raises:
        NotGranted: no grant covers the call.
        OutsideHours: one does, but not at this time of the week.
        VerdictOnly: one does, but shows no data.
        InvalidRequest: one does, if the call named the operator or the device behind it.
    """
    verdict, ref = snapshot.image.decide(
        snapshot.numbers.get(consumer.id),
        request.interface,
        request.version,
        request.purpose,
        request.matter,
        request.unit,
        Says.OPERATOR * bool(request.operator)
        | Says.DEVICE * bool(request.device)
        | Says.VERDICT * (request.asserted is not None),
        times.earliest_ms,
        times.latest_ms,
    )
    if ref is None:
        raise _REFUSALS[Verdict(verdict)]()
    return snapshot.authority(ref)
