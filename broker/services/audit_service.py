"""`AuditService`: who asked about somebody, and proof of it. For operators, and for consumers that are named as auditors.

Every look is put down before it is answered. What must not go in here: reading the log (audit/reader.py), protobuf of other
services.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from google.protobuf.timestamp_pb2 import Timestamp

from broker.audit.accesses import Accesses
from broker.audit.reader import LogReader
from broker.audit.records import RecordId
from broker.audit.usage import Page
from broker.errors import AuditRefused, InvalidRequest, NotAllowed, Violation
from broker.exchange import Exchange
from broker.model.call import Peer
from broker.model.semantics import canonical_forms
from broker.services import caller
from broker.services.caller import Context
from broker.v1 import audit_pb2 as pb

OPERATOR = "operator"
MOST_ON_A_PAGE = 1000
END_NS = 1 << 64
T = TypeVar("T")


class Looker(NamedTuple):
    """Who looks at the log: a system, the person behind it where that is said, and by which method."""

    consumer: str
    method: str
    operator: str = ""
    request_id: str = ""


class Wanted(NamedTuple):
    """Which accesses are wanted: of a period, in nanoseconds since 1970, and of those one page."""

    subject: str
    from_ns: int = 0
    until_ns: int = END_NS
    page_size: int = 0
    token: str = ""
    offset: int = 0


class AuditService:
    """Answers auditors, and with `known` false operators, who may read the files: no embargo hides a record from them."""

    def __init__(self, exchange: Exchange, reader: LogReader, accesses: Accesses, *, known: bool = True) -> None:
        self._exchange = exchange
        self._reader = reader
        self._accesses = accesses
        self._known = known

    async def FindUsage(self, message: pb.FindUsageRequest, context: Context) -> pb.FindUsageResponse:
        """List who read the data of one subject."""
        who = self._looker(context, "FindUsage")
        wanted = Wanted(
            subject=message.subject,
            from_ns=_ns(getattr(message, "from"), message, "from", 0),
            until_ns=_ns(message.until, message, "until", END_NS),
            page_size=message.page_size,
            token=message.page_token,
        )
        page = await self.usage(who, wanted)
        return pb.FindUsageResponse(records=page.found, next_page_token=page.next_token, total_size=page.total)

    async def GetRecord(self, message: pb.GetRecordRequest, context: Context) -> pb.GetRecordResponse:
        """Tell one record."""
        who, wanted = self._looker(context, "GetRecord"), message.audit_id
        record = await self._looked(who, lambda: self._reader.record(wanted, withheld=self._known), {"target": _named(wanted)})
        return pb.GetRecordResponse(record=record)

    async def GetCheckpoint(self, _message: pb.GetCheckpointRequest, context: Context) -> pb.GetCheckpointResponse:
        """Tell the newest checkpoint."""
        who = self._looker(context, "GetCheckpoint")
        return pb.GetCheckpointResponse(checkpoint=await self._looked(who, self._reader.checkpoint))

    async def GetInclusionProof(self, message: pb.GetInclusionProofRequest, context: Context) -> pb.GetInclusionProofResponse:
        """Prove that a record is in the log."""
        who, wanted = self._looker(context, "GetInclusionProof"), message.audit_id
        return await self._looked(who, lambda: self._reader.prove(wanted, withheld=self._known), {"target": _named(wanted)})

    def admit(self, peer: Peer) -> str:
        """Return who looks.

        Raises:
            Unauthenticated: it is not known who calls.
            NotAllowed: it is no auditor.
        """
        exchange = self._exchange
        consumer = exchange.identifier.identify(peer, exchange.snapshot, exchange.clock())
        if consumer.id not in exchange.config.audit.auditors:
            raise NotAllowed("only auditors may look at the audit log")
        return consumer.id

    async def usage(self, who: Looker, wanted: Wanted) -> Page:
        """Return a page of who read the data of one subject, newest first, for somebody who was admitted.

        Raises:
            InvalidRequest: the subject is no identifier, or there is no such page.
            AuditUnavailable, AuditOverloaded: that somebody looks cannot be put down.
        """
        subjects = self._reader.subjects(_forms(wanted.subject))
        if not 0 <= wanted.page_size <= MOST_ON_A_PAGE:
            raise InvalidRequest(Violation("page_size", f"must be from 1 to {MOST_ON_A_PAGE}, or 0"))
        period = wanted.from_ns, wanted.until_ns
        return await self._looked(
            who,
            lambda: self._reader.usage(subjects, period, wanted.page_size, wanted.token, wanted.offset),
            *({"subject": subject} for subject in subjects),
        )

    async def since_ns(self, who: Looker) -> int | None:
        """Return since when there are records, in nanoseconds since 1970, for somebody who was admitted."""
        return await self._looked(who, self._reader.since_ns)

    def _looker(self, context: Context, method: str) -> Looker:
        consumer = self.admit(caller.peer(context)) if self._known else OPERATOR
        operator, request_id = caller.said(context, caller.OPERATOR), caller.request_id(context)
        return Looker(consumer, f"broker.v1.AuditService/{method}", operator, request_id)

    async def _looked(self, who: Looker, read: Callable[[], T], *about: Mapping[str, Any]) -> T:
        """Put down that somebody looks, and at what, then read beside the loop."""
        for one in about or ({},):
            await self._accesses.looked(**who._asdict(), **one)
        return await asyncio.to_thread(read)


def _named(audit_id: str) -> str:
    """What the log says of the record that was asked for: nothing of what could be no identifier of one."""
    try:
        return str(RecordId.parse(audit_id))
    except AuditRefused:
        return ""


def _forms(subject: str) -> set[str]:
    forms = canonical_forms(subject)
    if not forms:
        raise InvalidRequest(Violation("subject", "is not an identifier"))
    return forms


def _ns(moment: Timestamp, message: pb.FindUsageRequest, field: str, otherwise: int) -> int:
    return moment.ToNanoseconds() if message.HasField(field) else otherwise  # type: ignore[arg-type]
