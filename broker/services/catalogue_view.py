"""What a snapshot has to show: its resources and interfaces as messages, and what a consumer holds, each put together once.

That takes long where there is much, so it is done in a thread, one thing at a time, and kept until the next snapshot. What
must not go in here: who may see it, and pages of it (catalogue_service.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from broker.model.listing import Entry, fold
from broker.model.mounts import interfaces_of
from broker.model.snapshot import CURRENT, Holding, Snapshot
from broker.services import catalogue_messages as messages
from broker.v1 import catalogue_pb2 as pb

_MAX_KEPT = 100_000  # holdings, some 300 bytes each


class View(NamedTuple):
    """What one snapshot shows, in order of code and id."""

    snapshot: Snapshot
    resources: Sequence[Entry[pb.Resource]]
    interfaces: Sequence[Entry[pb.Interface]]  # the current versions
    described: Mapping[str, pb.Interface]  # the same, by id


class Views:
    """The view of the snapshot in force, and what its consumers hold."""

    def __init__(self, snapshot: Callable[[], Snapshot]) -> None:
        self._snapshot = snapshot
        self._view = view(snapshot())
        self._held: dict[str, Sequence[Entry[Holding]]] = {}
        self._busy = asyncio.Lock()

    async def now(self) -> View:
        """Return what there is to see now."""
        if self._view.snapshot is not self._snapshot():
            async with self._busy:
                if self._view.snapshot is not (snapshot := self._snapshot()):
                    self._view, self._held = await asyncio.to_thread(view, snapshot), {}
        return self._view

    async def held(self, shown: View, consumer: str) -> Sequence[Entry[Holding]]:
        """Return what a consumer holds, good now or not, in order of grant."""
        if shown is self._view and consumer in self._held:
            return self._held[consumer]
        async with self._busy:
            if shown is self._view and consumer in self._held:
                return self._held[consumer]
            found = await asyncio.to_thread(_held, shown.snapshot, consumer)
            if shown is self._view:
                self._keep(consumer, found)
            return found

    def _keep(self, consumer: str, found: Sequence[Entry[Holding]]) -> None:
        """Keep it, and forget the oldest of what is too much together; the newest is never too much."""
        kept = sum(map(len, self._held.values())) + len(found)
        for oldest in list(self._held):
            if kept <= _MAX_KEPT:
                break
            kept -= len(self._held.pop(oldest))
        self._held[consumer] = found


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
    return View(snapshot, resources, interfaces, {entry.key: entry.value for entry in interfaces})


def _held(snapshot: Snapshot, consumer: str) -> Sequence[Entry[Holding]]:
    return [Entry(holding.grant, "", holding) for holding in snapshot.held_by(consumer)]
