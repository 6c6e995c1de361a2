"""`GrantService`: asking for grants, deciding on them, and looking at them.

On the consumers' port a consumer speaks for itself and its groups, and for the providers whose approver it is; on the
operators' socket the file system has seen to who may, and that is everything. What must not go in here: what may follow on
what (policy/workflow.py), and who may do what (policy/standing.py).
"""

from __future__ import annotations

import asyncio
import base64
import binascii
import datetime as dt
import functools
import hashlib
import zoneinfo
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any, TypeAlias, TypeVar

import grpc
import structlog

from broker.errors import ControlPlaneUnavailable, DirectoryUnusable, InvalidRequest, NotFound, Violation
from broker.exchange import Exchange
from broker.policy import browse, workflow
from broker.policy.browse import Selection
from broker.policy.database import Database
from broker.policy.lives import could_be
from broker.policy.request import Ask, request
from broker.policy.standing import OPERATOR, Standing, check, check_request, of_consumer
from broker.policy.wording import signed, worded
from broker.policy.workflow import Decision, Story, Verb
from broker.services import caller
from broker.services import grant_messages as messages
from broker.v1 import grants_pb2 as pb

log = structlog.get_logger("grants")

Context: TypeAlias = "grpc.aio.ServicerContext[Any, Any]"
Reload = Callable[[], Awaitable[int]]
T = TypeVar("T")

DEFAULT_PAGE, MAX_PAGE = 50, 1000
_THREADS = 2
_MAX_TOKEN_CHARS = 512
_DIGEST_BYTES = 8
_FRAME_BYTES = 8  # around a grant in a response: a tag and a length
_RESERVED_BYTES = 4096  # of a response, for everything but its grants


class GrantService:
    """Answers consumers, and with `known` false operators."""

    def __init__(self, exchange: Exchange, database: Database, reload: Reload, *, known: bool = True) -> None:
        self._exchange = exchange
        self._database = database
        self._reload = reload
        self._known = known
        self._zone = zoneinfo.ZoneInfo(exchange.config.policy.time_zone)
        # Its own: a control plane that is slow to answer keeps nobody waiting who uses the loop's, and many consumers who ask
        # at once keep no operator waiting, who has another service. The threads end with the process.
        self._threads = ThreadPoolExecutor(_THREADS, thread_name_prefix="grants")
        self._most_bytes = exchange.config.grpc.max_message_bytes - _RESERVED_BYTES

    async def RequestGrant(self, message: pb.RequestGrantRequest, context: Context) -> pb.RequestGrantResponse:
        """Ask for a grant."""
        standing, now = self._admit(context)
        check_request(standing, message.terms.consumer)
        self._exchange.audit.check()  # what is to be given must be put down
        actor, terms = signed(standing.name, message.actor), messages.terms(message.terms)
        ask = Ask(terms=terms, actor=actor, caller=standing.name, method=_method("Request"), request_id=message.request_id)
        return pb.RequestGrantResponse(grant=await self._in_thread(self._request, ask, now))

    async def ApproveGrant(self, message: pb.ApproveGrantRequest, context: Context) -> pb.ApproveGrantResponse:
        """Put a grant in force."""
        return pb.ApproveGrantResponse(grant=await self._act(Verb.APPROVE, message, context))

    async def RejectGrant(self, message: pb.RejectGrantRequest, context: Context) -> pb.RejectGrantResponse:
        """Refuse a request."""
        return pb.RejectGrantResponse(grant=await self._act(Verb.REJECT, message, context))

    async def PauseGrant(self, message: pb.PauseGrantRequest, context: Context) -> pb.PauseGrantResponse:
        """Suspend a grant."""
        return pb.PauseGrantResponse(grant=await self._act(Verb.PAUSE, message, context))

    async def RevokeGrant(self, message: pb.RevokeGrantRequest, context: Context) -> pb.RevokeGrantResponse:
        """End a grant, or withdraw a request."""
        return pb.RevokeGrantResponse(grant=await self._act(Verb.REVOKE, message, context))

    async def GetGrant(self, message: pb.GetGrantRequest, context: Context) -> pb.GetGrantResponse:
        """Tell of one grant."""
        standing, now = self._admit(context)
        return pb.GetGrantResponse(grant=await self._in_thread(self._read, message.id, standing, now))

    async def ListGrants(self, message: pb.ListGrantsRequest, context: Context) -> pb.ListGrantsResponse:
        """List what the caller may see."""
        standing, now = self._admit(context)
        if message.page_size < 0:
            raise InvalidRequest(Violation("page_size", "must not be negative"))
        wanted = Selection(
            consumer=message.consumer,
            interface=message.interface,
            states=messages.states(message.states),
            overdue=message.overdue,
        )
        scope, size = _scope(standing, wanted), min(message.page_size or DEFAULT_PAGE, MAX_PAGE)
        after = _read_token(message.page_token, scope) if message.page_token else ""
        given, more = await self._in_thread(self._page, wanted, standing, after, size, now)
        return pb.ListGrantsResponse(grants=given, next_page_token=_token(given[-1].id, scope) if more else "")

    def _admit(self, context: Context) -> tuple[Standing, dt.datetime]:
        """Return who calls, and what time it is.

        Raises:
            Unauthenticated: it is not known who calls.
        """
        snapshot, times = self._exchange.snapshot, self._exchange.clock()
        now = dt.datetime.fromtimestamp(times.wall_ms / 1000, dt.UTC)
        if not self._known:
            return OPERATOR, now
        consumer = self._exchange.identifier.identify(caller.peer(context), snapshot, times)
        return of_consumer(consumer, snapshot), now

    async def _act(self, verb: Verb, message: Any, context: Context) -> pb.Grant:
        """Take a step, and serve by it before it is told."""
        standing, now = self._admit(context)
        if verb is Verb.APPROVE:
            self._exchange.audit.check()  # what is to be given must be put down; what is taken away waits for nothing
        reason = worded(message.reason, required=verb is Verb.REJECT)
        decision = Decision(verb, signed(standing.name, message.actor), reason, _method(verb.value.title()))
        permit = functools.partial(check, standing, verb)
        grant = await self._in_thread(self._take, message.id, decision, permit, now)
        log.info(
            "grant decided", grant=grant.id, verb=verb.value, state=pb.GrantState.Name(grant.state).removeprefix("GRANT_STATE_")
        )
        try:
            await self._reload()
        except Exception as error:  # the control plane is looked at again in a moment anyway
            log.warning("not reloaded", error=type(error).__name__)
        return grant

    async def _in_thread(self, work: Callable[..., T], *arguments: Any) -> T:
        try:
            return await asyncio.get_running_loop().run_in_executor(self._threads, work, *arguments)
        except DirectoryUnusable as error:
            log.warning("the control plane does not answer", error=str(error))
            raise ControlPlaneUnavailable from error

    # --- in a thread: what it may take to ask the control plane, and to make large messages of the answer -----------------

    def _request(self, ask: Ask, now: dt.datetime) -> pb.Grant:
        return messages.grant(request(self._database, ask, self._zone, now), now)

    def _take(self, grant_id: str, decision: Decision, permit: workflow.Permit, now: dt.datetime) -> pb.Grant:
        return messages.grant(workflow.act(self._database, grant_id, decision, permit, now), now)

    def _read(self, grant_id: str, standing: Standing, now: dt.datetime) -> pb.Grant:
        story = browse.read(self._database, grant_id, standing)
        if story is None:
            raise NotFound("no such grant")
        return messages.grant(story, now)

    def _page(
        self, wanted: Selection, standing: Standing, after: str, size: int, now: dt.datetime
    ) -> tuple[list[pb.Grant], bool]:
        stories, more = browse.page(self._database, wanted, standing, after, size, now)
        given = self._fitting(stories, now)
        return given, more or len(given) < len(stories)

    def _fitting(self, stories: list[Story], now: dt.datetime) -> list[pb.Grant]:
        """Return as many grants as one response may hold, and at least one, so that a list always comes to its end."""
        given: list[pb.Grant] = []
        left = self._most_bytes
        for story in stories:
            message = messages.grant(story, now)
            left -= message.ByteSize() + _FRAME_BYTES
            if given and left < 0:
                break
            given.append(message)
        return given


def _method(verb: str) -> str:
    return f"{pb.DESCRIPTOR.services_by_name['GrantService'].full_name}/{verb}Grant"


# --- tokens of pages: the grant after which the next page begins, bound to who asks for what --------------------------------


def _scope(standing: Standing, wanted: Selection) -> bytes:
    parts = (standing.name, wanted.consumer, wanted.interface, *sorted(wanted.states), str(wanted.overdue))
    return "\0".join(parts).encode()


def _token(after: str, scope: bytes) -> str:
    digest = hashlib.sha256(scope + b"\0" + after.encode()).digest()[:_DIGEST_BYTES]
    return base64.urlsafe_b64encode(digest + after.encode()).decode()


def _read_token(token: str, scope: bytes) -> str:
    after = ""
    if len(token) <= _MAX_TOKEN_CHARS:
        try:
            after = base64.b64decode(token.encode("ascii"), altchars=b"-_", validate=True)[_DIGEST_BYTES:].decode()
        except (UnicodeError, binascii.Error):
            after = ""
    if not could_be(after) or _token(after, scope) != token:
        raise InvalidRequest(Violation("page_token", "is not one that was given for this request"))
    return after
