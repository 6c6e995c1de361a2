"""`CatalogueService`: what there is to ask, what the caller may ask, and what of it works.

On the consumers' port everybody must be known; on the operators' socket the file system has seen to that. Other calls wait
for the same event loop, so a long list is written a few entries at a time, and what takes longer is not done on it
(catalogue_view.py). What must not go in here: selection and paging (model/listing.py), states of mounts (model/mounts.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

import grpc
from google.protobuf.message import Message

from broker.errors import InvalidRequest, NotFound, Violation
from broker.exchange import Exchange
from broker.model.call import Times
from broker.model.catalogue import Consumer
from broker.model.listing import Entry, Wanted, page
from broker.model.mounts import Report, interfaces_of
from broker.model.snapshot import CURRENT, Holding, Snapshot
from broker.services import caller, masks
from broker.services import catalogue_messages as messages
from broker.services.catalogue_view import View, Views
from broker.v1 import catalogue_pb2 as pb

Context = grpc.aio.ServicerContext[Any, Any]
MountReports = Callable[[str], Report]  # of one provider, or of all for ""
M = TypeVar("M", bound=Message)

_FRAME_BYTES = 8  # around an entry in a response: a tag and a length
_RESERVED_BYTES = 4096  # of a response, for everything but its entries
_TURN = 32  # entries written before other calls have theirs: a millisecond or two


class CatalogueService:
    """Answers consumers, and with `known` false operators."""

    def __init__(self, exchange: Exchange, mounts: MountReports, *, known: bool = True) -> None:
        self._exchange = exchange
        self._mounts = mounts
        self._known = known
        self._views = Views(lambda: exchange.snapshot)
        self._most_bytes = exchange.config.grpc.max_message_bytes - _RESERVED_BYTES

    async def ListResources(self, message: pb.ListResourcesRequest, context: Context) -> pb.ListResourcesResponse:
        """List resources by words."""
        self._admit(context)
        mask = masks.checked(message.read_mask, pb.Resource)
        wanted = Wanted(message.page_size, message.page_token, message.query, ("resources",))
        found = page((await self._views.now()).resources, wanted)
        given = await self._fitting(masks.masked(mask, entry.value) for entry in found.entries)
        return pb.ListResourcesResponse(resources=given, next_page_token=found.token_after(len(given)), total_size=found.total)

    async def GetResource(self, message: pb.GetResourceRequest, context: Context) -> pb.GetResourceResponse:
        """Describe one resource."""
        snapshot = self._admit(context)
        mask = masks.checked(message.read_mask, pb.Resource)
        resource = snapshot.resources.get(message.code)
        if resource is None:
            raise NotFound("no such resource")
        described = messages.resource(resource, interfaces_of(snapshot).get(resource.code, ()))
        return pb.GetResourceResponse(resource=masks.masked(mask, described))

    async def ListInterfaces(self, message: pb.ListInterfacesRequest, context: Context) -> pb.ListInterfacesResponse:
        """List interfaces by words and level."""
        self._admit(context)
        mask = masks.checked(message.read_mask, pb.Interface)
        if message.level and message.level not in messages.LEVELS.values():
            raise InvalidRequest(Violation("level", "is not a level"))
        wanted = Wanted(message.page_size, message.page_token, message.query, ("interfaces", str(message.level)))
        listed = (await self._views.now()).interfaces
        found = page([entry for entry in listed if message.level in (0, entry.value.level)], wanted)
        given = await self._fitting(masks.masked(mask, entry.value) for entry in found.entries)
        return pb.ListInterfacesResponse(
            interfaces=given, next_page_token=found.token_after(len(given)), total_size=found.total
        )

    async def GetInterface(self, message: pb.GetInterfaceRequest, context: Context) -> pb.GetInterfaceResponse:
        """Describe one version of an interface."""
        snapshot = self._admit(context)
        interface = snapshot.interfaces.get((message.id, message.version))
        if interface is None:
            raise NotFound("no such interface, or not in this version")
        return pb.GetInterfaceResponse(interface=messages.interface(interface, snapshot.providers[interface.provider]))

    async def ListAllowed(self, message: pb.ListAllowedRequest, context: Context) -> pb.ListAllowedResponse:
        """List what the caller may ask now; on either port it must say who it is."""
        snapshot, times = self._exchange.snapshot, self._exchange.clock()
        consumer = self._identified(context, snapshot, times)
        wanted = Wanted(message.page_size, message.page_token, scope=("allowed", consumer.id))
        shown = await self._views.now()
        found = page(in_force(await self._views.held(shown, consumer.id), times), wanted)
        given = await self._fitting(_allowed(entry.value, shown, consumer.id) for entry in found.entries)
        return pb.ListAllowedResponse(allowed=given, next_page_token=found.token_after(len(given)), total_size=found.total)

    async def GetMountReport(self, message: pb.GetMountReportRequest, context: Context) -> pb.GetMountReportResponse:
        """Report on the mounts."""
        snapshot = self._admit(context)
        if message.provider and message.provider not in snapshot.providers:
            raise NotFound("no such provider")
        report = self._mounts(message.provider)
        answer = messages.mount_report(report, snapshot)
        answer.unmounted.extend(await self._fitting(map(messages.unmounted, report.unmounted), answer.ByteSize()))
        return answer

    def _admit(self, context: Context) -> Snapshot:
        """Return the snapshot in force, to whom is known."""
        snapshot = self._exchange.snapshot
        if self._known:
            self._identified(context, snapshot, self._exchange.clock())
        return snapshot

    def _identified(self, context: Context, snapshot: Snapshot, times: Times) -> Consumer:
        return self._exchange.identifier.identify(caller.peer(context), snapshot, times)

    async def _fitting(self, entries: Iterable[M], beside: int = 0) -> list[M]:
        """Write entries up to what a response may weigh, with so many bytes beside them, but one at the least."""
        given: list[M] = []
        left = self._most_bytes - beside
        for entry in entries:
            left -= entry.ByteSize() + _FRAME_BYTES
            if given and left < 0:
                break
            given.append(entry)
            if len(given) % _TURN == 0:
                await asyncio.sleep(0)
        return given


def in_force(held: Sequence[Entry[Holding]], times: Times) -> Sequence[Entry[Holding]]:
    """Return what is good now of what a consumer holds; at which hours, the grants say themselves."""
    earliest_ms, latest_ms = times.earliest_ms, times.latest_ms
    return [one for one in held if one.value.valid_from_ms <= earliest_ms and latest_ms < one.value.valid_until_ms]


def _allowed(holding: Holding, shown: View, consumer: str) -> pb.AllowedInterface:
    grant = shown.snapshot.grant(holding)
    asked = shown.snapshot.interfaces[grant.interface, CURRENT]
    return messages.allowed(grant, asked, shown.described[asked.id], consumer)
