"""`CatalogueService`: what there is to ask, what the caller may ask, and what of it works.

On the consumers' port everybody must be known; on the operators' socket the file system has seen to that. What a snapshot has
to show is put together once, at the first question after it came into force. What must not go in here: selection and paging
(model/listing.py), states of mounts (model/mounts.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, TypeVar

import grpc
from google.protobuf.field_mask_pb2 import FieldMask
from google.protobuf.message import Message

from broker.errors import InvalidRequest, NotFound, Violation
from broker.exchange import Exchange
from broker.model.call import Times
from broker.model.catalogue import Consumer, Grant
from broker.model.listing import Entry, Page, Wanted, fold, page
from broker.model.mounts import Report, interfaces_of
from broker.model.snapshot import CURRENT, Snapshot
from broker.services import caller, masks
from broker.services import catalogue_messages as messages
from broker.v1 import catalogue_pb2 as pb

Context = grpc.aio.ServicerContext[Any, Any]
MountReports = Callable[[str], Report]  # of one provider, or of all for ""
M = TypeVar("M", bound=Message)

_FRAME_BYTES = 8  # around an entry in a response: a tag and a length
_RESERVED_BYTES = 4096  # of a response, for everything but its entries


class View(NamedTuple):
    """What one snapshot shows, in order of code and id."""

    snapshot: Snapshot
    resources: Sequence[Entry[pb.Resource]]
    interfaces: Sequence[Entry[pb.Interface]]  # the current versions


class CatalogueService:
    """Answers consumers, and with `known` false operators."""

    def __init__(self, exchange: Exchange, mounts: MountReports, *, known: bool = True) -> None:
        self._exchange = exchange
        self._mounts = mounts
        self._known = known
        self._view = view(exchange.snapshot)
        self._most_bytes = exchange.config.grpc.max_message_bytes - _RESERVED_BYTES

    async def ListResources(self, message: pb.ListResourcesRequest, context: Context) -> pb.ListResourcesResponse:
        """List resources by words."""
        shown = self._admit(context)
        masks.check(message.read_mask, pb.Resource)
        wanted = Wanted(message.page_size, message.page_token, message.query, ("resources",))
        found = page(shown.resources, wanted)
        given = self._fitting(found, message.read_mask)
        return pb.ListResourcesResponse(resources=given, next_page_token=found.token_after(len(given)), total_size=found.total)

    async def GetResource(self, message: pb.GetResourceRequest, context: Context) -> pb.GetResourceResponse:
        """Describe one resource."""
        snapshot = self._admit(context).snapshot
        masks.check(message.read_mask, pb.Resource)
        resource = snapshot.resources.get(message.code)
        if resource is None:
            raise NotFound("no such resource")
        described = messages.resource(resource, interfaces_of(snapshot).get(resource.code, ()))
        return pb.GetResourceResponse(resource=masks.masked(message.read_mask, described))

    async def ListInterfaces(self, message: pb.ListInterfacesRequest, context: Context) -> pb.ListInterfacesResponse:
        """List interfaces by words and level."""
        shown = self._admit(context)
        masks.check(message.read_mask, pb.Interface)
        if message.level and message.level not in messages.LEVELS.values():
            raise InvalidRequest(Violation("level", "is not a level"))
        wanted = Wanted(message.page_size, message.page_token, message.query, ("interfaces", str(message.level)))
        found = page([e for e in shown.interfaces if message.level in (0, e.value.level)], wanted)
        given = self._fitting(found, message.read_mask)
        return pb.ListInterfacesResponse(
            interfaces=given, next_page_token=found.token_after(len(given)), total_size=found.total
        )

    async def GetInterface(self, message: pb.GetInterfaceRequest, context: Context) -> pb.GetInterfaceResponse:
        """Describe one version of an interface."""
        snapshot = self._admit(context).snapshot
        interface = snapshot.interfaces.get((message.id, message.version))
        if interface is None:
            raise NotFound("no such interface, or not in this version")
        return pb.GetInterfaceResponse(interface=messages.interface(interface, snapshot.providers[interface.provider]))

    async def ListAllowed(self, message: pb.ListAllowedRequest, context: Context) -> pb.ListAllowedResponse:
        """List what the caller may ask now; on either port it must say who it is."""
        snapshot, times = self._exchange.snapshot, self._exchange.clock()
        consumer = self._identified(context, snapshot, times)
        entries = [_allowed(grant, snapshot, consumer) for grant in in_force(snapshot, consumer, times)]
        found = page(entries, Wanted(message.page_size, message.page_token, scope=("allowed", consumer.id)))
        given = self._fitting(found, FieldMask())
        return pb.ListAllowedResponse(allowed=given, next_page_token=found.token_after(len(given)), total_size=found.total)

    async def GetMountReport(self, message: pb.GetMountReportRequest, context: Context) -> pb.GetMountReportResponse:
        """Report on the mounts."""
        snapshot = self._admit(context).snapshot
        if message.provider and message.provider not in snapshot.providers:
            raise NotFound("no such provider")
        return messages.mount_report(self._mounts(message.provider), snapshot)

    def _admit(self, context: Context) -> View:
        """Return what there is to see, to whom is known."""
        snapshot = self._exchange.snapshot
        if self._known:
            self._identified(context, snapshot, self._exchange.clock())
        if self._view.snapshot is not snapshot:
            self._view = view(snapshot)
        return self._view

    def _identified(self, context: Context, snapshot: Snapshot, times: Times) -> Consumer:
        return self._exchange.identifier.identify(caller.peer(context), snapshot, times)

    def _fitting(self, found: Page[M], mask: FieldMask) -> list[M]:
        """Return the page's messages up to what a response may weigh, but one at the least."""
        given: list[M] = []
        left = self._most_bytes
        for entry in found.entries:
            message = masks.masked(mask, entry.value)
            left -= message.ByteSize() + _FRAME_BYTES
            if given and left < 0:
                break
            given.append(message)
        return given


def view(snapshot: Snapshot) -> View:
    """Put together what a snapshot shows."""
    mounted, names = interfaces_of(snapshot), {provider.id: provider.name for provider in snapshot.providers.values()}
    resources = [
        Entry(
            code,
            fold(code, resource.name, resource.abstract, resource.provider, names[resource.provider]),
            messages.resource(resource, mounted.get(code, ())),
        )
        for code, resource in sorted(snapshot.resources.items())
    ]
    interfaces = [
        Entry(
            interface.id,
            fold(interface.id, interface.title, interface.provider, names[interface.provider]),
            messages.interface(interface, snapshot.providers[interface.provider]),
        )
        for (_, version), interface in sorted(snapshot.interfaces.items())
        if version == CURRENT
    ]
    return View(snapshot, resources, interfaces)


def in_force(snapshot: Snapshot, consumer: Consumer, times: Times) -> list[Grant]:
    """Return a consumer's grants that hold today; at which hours, they say themselves."""
    return [
        grant
        for grant in snapshot.granted_to(consumer.id)
        if grant.valid_from.timestamp() * 1000 <= times.earliest_ms and times.latest_ms < grant.valid_until.timestamp() * 1000
    ]


def _allowed(grant: Grant, snapshot: Snapshot, consumer: Consumer) -> Entry[pb.AllowedInterface]:
    asked = snapshot.interfaces[grant.interface, CURRENT]
    described = messages.interface(asked, snapshot.providers[asked.provider])
    return Entry(grant.id, "", messages.allowed(grant, asked, described, consumer.id))
