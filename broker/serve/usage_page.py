"""Who read somebody's data, over HTTP, in the shape of the Estonian data tracker (andmejälgija, "kasutusteave" API v2, RIA).

    POST /aj/v2/findUsage     {"userCode", "periodStart", "periodEnd", "offset", "limit"} -> {"totalUsages", "usages": [...]}
    GET  /aj/v2/usagePeriod   -> {"periodStart"}
    GET  /aj/v2/heartbeat     -> {"status": "OK" | "FAIL"}

Two things differ: the search is a POST, for an identifier in an address ends up in logs on its way, and who asks shows an
auditor's token (`Authorization: Bearer`). `X-Road-UserId` is not kept: it may be the subject's own identifier, in clear. Fields
that the tracker does not know tell more of an access. Served on loopback only, for tokens and answers are in clear. What must
not go in here: who may ask, and what is told (services/audit_service.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import msgspec
import structlog
from aiohttp import web

from broker.audit.accesses import Accesses
from broker.errors import AuditOverloaded, AuditUnavailable, BrokerError, CallerError, InvalidRequest, StartupError, Violation
from broker.model.call import Peer
from broker.model.snapshot import Snapshot
from broker.services.audit_service import END_NS, MOST_ON_A_PAGE, AuditService, Looker, Wanted
from broker.services.caller import REQUEST_ID, bearer
from broker.v1 import audit_pb2 as pb
from broker.v1.audit_pb2 import AUDIT_KIND_LOOK

_STATUS = {
    "INVALID_ARGUMENT": 400,
    "UNAUTHENTICATED": 401,
    "PERMISSION_DENIED": 403,
    "RESOURCE_EXHAUSTED": 503,
    "UNAVAILABLE": 503,
}
log = structlog.get_logger("audit")

_NO_STORE = {"Cache-Control": "no-store"}
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class FindUsage(msgspec.Struct, frozen=True, rename="camel"):
    """What is asked. Moments are of RFC 3339; without an offset they are UTC."""

    user_code: str
    period_start: dt.datetime | None = None
    period_end: dt.datetime | None = None
    offset: Annotated[int, msgspec.Meta(ge=0, le=1 << 31)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=MOST_ON_A_PAGE)] = MOST_ON_A_PAGE


class Usage(msgspec.Struct, frozen=True, rename="camel"):
    """One access. What follows `receiver_system` is ours."""

    logtime: dt.datetime
    action: str
    receiver_code: str
    receiver_name: str
    receiver_system: str
    audit_id: str
    purpose: str
    matter: str
    fields: list[str]
    outcome: str


class UsagePage:
    """Answers auditors over HTTP."""

    def __init__(self, service: AuditService, accesses: Accesses, snapshot: Callable[[], Snapshot]) -> None:
        """Args: snapshot: what interfaces and consumers are called now."""
        self._service, self._accesses, self._snapshot = service, accesses, snapshot

    def routes(self) -> list[web.RouteDef]:
        """Return what is served."""
        return [
            web.post("/aj/v2/findUsage", self._answering(self._find)),
            web.get("/aj/v2/usagePeriod", self._answering(self._period)),
            web.get("/aj/v2/heartbeat", self._answering(self._alive)),
        ]

    def _answering(self, find: Callable[[web.Request], Awaitable[Any]]) -> Callable[[web.Request], Awaitable[web.Response]]:
        async def answer(request: web.Request) -> web.Response:
            try:
                status, told = 200, await find(request)
            except StartupError as error:  # whose text is for who runs the broker
                log.error("an auditor could not be answered", why=type(error).__name__)
                status, told = 500, {"message": "the audit log cannot be read now"}
            except BrokerError as error:
                error = await self._refused(error, request)
                status, told = _STATUS.get(error.code, 500), {"message": str(error)}
            return web.Response(
                body=msgspec.json.encode(told), status=status, content_type="application/json", headers=_NO_STORE
            )

        return answer

    async def _refused(self, error: BrokerError, request: web.Request) -> BrokerError:
        """Put down that somebody was not let look; returns what to answer."""
        if not isinstance(error, CallerError):
            return error
        try:
            await self._accesses.refused(error, kind=AUDIT_KIND_LOOK, method=request.path.removeprefix("/"))
        except (AuditUnavailable, AuditOverloaded) as unwritten:
            return unwritten
        return error

    async def _find(self, request: web.Request) -> dict[str, Any]:
        who = self._admit(request, "findUsage")
        asked = _read(await request.read())
        wanted = Wanted(
            subject=asked.user_code,
            from_ns=_ns(asked.period_start, 0),
            until_ns=_ns(asked.period_end, END_NS),
            page_size=asked.limit,
            offset=asked.offset,
        )
        page, snapshot = await self._service.usage(who, wanted), self._snapshot()
        return {"totalUsages": page.total, "usages": [_usage(record, snapshot) for record in page.found]}

    async def _period(self, request: web.Request) -> dict[str, Any]:
        since_ns = await self._service.since_ns(self._admit(request, "usagePeriod"))
        return {} if since_ns is None else {"periodStart": _moment(since_ns)}

    async def _alive(self, _request: web.Request) -> dict[str, Any]:
        return {"status": "OK" if self._accesses.is_open else "FAIL"}

    def _admit(self, request: web.Request, method: str) -> Looker:
        """Return who looks. Raises as `AuditService.admit`."""
        consumer = self._service.admit(Peer(token=bearer(request.headers.getall("Authorization", []))))
        request_id = request.headers.get(REQUEST_ID, "")
        return Looker(consumer, f"aj/v2/{method}", request_id=request_id if request_id.isascii() else "")


def _read(body: bytes) -> FindUsage:
    try:
        return msgspec.json.decode(body, type=FindUsage)
    except (msgspec.DecodeError, UnicodeDecodeError):  # whose text may name what was sent
        raise InvalidRequest(
            Violation("body", "must be JSON with userCode, and periodStart, periodEnd, offset, limit if need be")
        ) from None


def _usage(record: pb.AuditRecord, snapshot: Snapshot) -> Usage:
    interface = snapshot.interfaces.get((record.interface, record.version))
    consumer = snapshot.consumers.get(record.consumer)
    why = ", ".join(filter(None, (interface.title if interface else record.interface, record.matter or record.purpose)))
    return Usage(
        logtime=_moment(record.at.ToNanoseconds()),
        action=why if record.outcome == "FOUND" else f"{why}: {record.outcome or 'ASKED'}",
        receiver_code=record.consumer,
        receiver_name=consumer.department or consumer.name if consumer else "",
        receiver_system=consumer.name if consumer else record.consumer,
        audit_id=record.audit_id,
        purpose=record.purpose,
        matter=record.matter,
        fields=list(record.fields),
        outcome=record.outcome,
    )


def _moment(ns: int) -> dt.datetime:
    return _EPOCH + dt.timedelta(microseconds=ns // 1000)


def _ns(moment: dt.datetime | None, otherwise: int) -> int:
    if moment is None:
        return otherwise
    known = moment if moment.tzinfo else moment.replace(tzinfo=dt.UTC)
    return (known - _EPOCH) // dt.timedelta(microseconds=1) * 1000
