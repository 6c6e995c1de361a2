"""`AdminService`: what operators do. Served on the admin socket only, whose file permissions say who may."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import grpc
from google.protobuf.timestamp_pb2 import Timestamp

from broker import __version__, exchange
from broker.audit.changes import Ledger, NoLedger
from broker.cache.store import Tag
from broker.errors import InvalidRequest, Violation
from broker.model.call import Request
from broker.model.question import canonicalise
from broker.model.semantics import canonical_forms
from broker.policy.wording import OPERATOR
from broker.v1 import admin_pb2 as pb


@dataclass(frozen=True)
class Operations:
    """What the process around the exchange can be told to do."""

    reload: Callable[[], Awaitable[int]]  # returns the snapshot version in force
    drain: Callable[[float | None], Awaitable[int]]  # seconds to wait; returns the calls still in progress
    draining: Callable[[], bool]
    in_progress: Callable[[], int]
    started_at_ms: int
    restarts: int


class AdminService:
    """Answers operators."""

    def __init__(self, broker: exchange.Exchange, operations: Operations, ledger: Ledger | NoLedger | None = None) -> None:
        self._broker = broker
        self._ledger = ledger or NoLedger()
        self._operations = operations

    async def Purge(self, message: pb.PurgeRequest, _context: grpc.aio.ServicerContext[Any, Any]) -> pb.PurgeResponse:
        """Remove cached answers."""
        target = message.WhichOneof("target")
        if target is None or (target == "all" and not message.all):
            raise InvalidRequest(Violation("target", "is required"))
        selection = None if target == "all" else self._selection(target, message)
        await self._put_down("Purge", self._purged(target, message))
        if selection is None:
            return pb.PurgeResponse(removed=exchange.purge_all(self._broker))
        return pb.PurgeResponse(removed=await exchange.purge(self._broker, *selection))

    async def _put_down(self, method: str, target: str) -> None:
        await self._ledger.operated(consumer=OPERATOR, method=f"broker.v1.AdminService/{method}", target=target)

    def _purged(self, target: str, message: pb.PurgeRequest) -> str:
        """What the log says of what is removed: names of the catalogue, and nothing of whom it is about."""
        snapshot = self._broker.snapshot
        names = {"interface": {interface for interface, _ in snapshot.interfaces}, "provider": snapshot.providers}
        name = getattr(message, target) if target in names else ""
        return f"cache/{target}/{name}" if name in names.get(target, ()) else f"cache/{target}"

    def _selection(self, target: str, message: pb.PurgeRequest) -> tuple[Tag, Iterable[str | bytes]]:
        if target == "question":
            return Tag.QUESTION, [self._question_key(message.question)]
        if target == "subject":
            return Tag.SUBJECT, canonical_forms(message.subject)
        if target == "interface":
            return Tag.INTERFACE, [message.interface]
        return Tag.PROVIDER, [message.provider]

    def _question_key(self, question: pb.CacheQuestion) -> bytes:
        snapshot = self._broker.snapshot
        interface = snapshot.interfaces.get((question.interface, question.version))
        if interface is None:
            raise InvalidRequest(Violation("question.interface", "is not in the catalogue"))
        request = Request(interface=interface.id, arguments=question.arguments, purpose="")
        return canonicalise(snapshot, interface, request).key

    async def Drain(self, message: pb.DrainRequest, _context: grpc.aio.ServicerContext[Any, Any]) -> pb.DrainResponse:
        """Take the broker out of service without ending the process."""
        await self._put_down("Drain", "broker")
        timeout_s = message.timeout.ToTimedelta().total_seconds() if message.HasField("timeout") else None
        return pb.DrainResponse(in_progress=await self._operations.drain(timeout_s))

    async def Reload(self, _message: pb.ReloadRequest, _context: grpc.aio.ServicerContext[Any, Any]) -> pb.ReloadResponse:
        """Read the control plane now."""
        await self._put_down("Reload", "control-plane")
        return pb.ReloadResponse(snapshot_version=await self._operations.reload())

    async def GetStatus(
        self, _message: pb.GetStatusRequest, _context: grpc.aio.ServicerContext[Any, Any]
    ) -> pb.GetStatusResponse:
        """Tell how the broker is."""
        snapshot, cache = self._broker.snapshot, self._broker.cache.stat()
        started = self._operations.started_at_ms
        return pb.GetStatusResponse(
            version=__version__,
            started_at=Timestamp(seconds=started // 1000, nanos=started % 1000 * 1_000_000),
            snapshot_version=snapshot.version,
            snapshot_digest=snapshot.digest,
            interfaces=len({interface for interface, _ in snapshot.interfaces}),
            grants=snapshot.grants,
            cache=pb.CacheStatus(entries=cache.entries, used_bytes=cache.used_bytes, map_bytes=cache.map_bytes),
            draining=self._operations.draining(),
            restarts=self._operations.restarts,
            in_progress=self._operations.in_progress(),
        )
