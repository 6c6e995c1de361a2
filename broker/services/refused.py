"""What is refused before it becomes a call, a look at the log, or a change is put down all the same, by the method called.

Looking at grants and at the catalogue is put down neither when it is allowed nor when it is refused. What must not go in here:
how it is put down (audit/accesses.py), and what is refused.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import MethodDescriptor

from broker.errors import BrokerError, CallerError
from broker.exchange import Exchange
from broker.model.change import grant_target
from broker.policy.wording import OPERATOR
from broker.services import caller
from broker.v1.audit_pb2 import AUDIT_KIND_CHANGE, AUDIT_KIND_LOOK, AUDIT_KIND_OUTCOME

if TYPE_CHECKING:
    from broker._native.journal import Fields


def _methods(kind: int, service: str, names: Iterable[str]) -> dict[str, int]:
    return {f"broker.v1.{service}.{name}": kind for name in names}


_KINDS: Mapping[str, int] = {
    **_methods(AUDIT_KIND_OUTCOME, "ExchangeService", ("Call", "Match", "BatchMatch", "StreamMatches", "Search")),
    **_methods(AUDIT_KIND_LOOK, "AuditService", ("FindUsage", "GetRecord", "GetCheckpoint", "GetInclusionProof")),
    **_methods(AUDIT_KIND_CHANGE, "GrantService", ("RequestGrant", "ApproveGrant", "RejectGrant", "PauseGrant", "RevokeGrant")),
    **_methods(AUDIT_KIND_CHANGE, "AdminService", ("Purge", "Drain", "Reload")),
}


class Refused:
    """Puts down what is refused to consumers, and with `known` false to operators."""

    def __init__(self, exchange: Exchange, *, known: bool = True) -> None:
        self._exchange = exchange
        self._known = known

    async def __call__(self, error: CallerError, method: MethodDescriptor, message: Any, context: caller.Context) -> None:
        """Put down that a message was refused; None: it could not be decoded.

        Raises:
            AuditUnavailable: it cannot be put down.
            AuditOverloaded: likewise.
        """
        kind = _KINDS.get(method.full_name)
        if kind is None:
            return
        about: Fields = {
            "kind": kind,
            "method": f"{method.containing_service.full_name}/{method.name}",
            "consumer": self._consumer(context),
            "request_id": caller.request_id(context),
            "snapshot_version": self._exchange.snapshot.version,
        }
        if kind == AUDIT_KIND_OUTCOME:
            about.update(_asked(message))
        elif kind == AUDIT_KIND_CHANGE:
            about["target"] = _target(message)
        await self._exchange.audit.refused(error, **about)

    def _consumer(self, context: caller.Context) -> str:
        """Who called, if that can be found out: what was refused may have been so before anybody asked."""
        if not self._known:
            return OPERATOR
        exchange = self._exchange
        try:
            return exchange.identifier.identify(caller.peer(context), exchange.snapshot, exchange.clock()).id
        except BrokerError:
            return ""


def _asked(message: Any) -> Fields:
    """What a call says it is for, as the path of a call would put it down."""
    found: Fields = {}
    for name in ("operator", "purpose", "matter", "case_id"):
        found[name] = getattr(message, name, "")
    found["interface"] = getattr(message, "interface", "") or getattr(message, "base", "")
    found["version"] = getattr(message, "version", 0)
    return found


def _target(message: Any) -> str:
    """What was to be changed: a grant by its identifier, if it can be one."""
    identifier = getattr(message, "id", None)
    return grant_target(identifier) if isinstance(identifier, str) else ""
