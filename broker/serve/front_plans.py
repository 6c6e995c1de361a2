"""Which interface versions of a snapshot a front may answer itself, and what native code must know of each.

They are those that are answered from the cache or from a record base. What must not go in here: when a snapshot is opened
(follow.py), and what a record says (front_answers.py).
"""

from __future__ import annotations

import zoneinfo
from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from broker._native.plans import Plans
from broker._native.policy import Image
from broker._native.reply import LEVELS, origin
from broker._native.wire import KINDS
from broker.audit.settings import waits_for_disk
from broker.config import Config
from broker.errors import SnapshotRefused
from broker.model.catalogue import BaseDeclaration, Interface, Provider, RecordsOperation
from broker.serve.board import NamedCounts

if TYPE_CHECKING:
    from broker.records.store import Bases
    from broker.serve.front_answers import Answers

# How a front counts what it answers: the first part of a slot's name, by whether the answer is held in a base.
CALLS = {False: "calls", True: "calls-records"}
MATCHES = {False: "matches", True: "matches-records"}


class Answerable(NamedTuple):
    """One interface version, with what it is answered from."""

    interface: Interface
    provider: Provider
    base: BaseDeclaration | None  # None: the cache


class Planned(NamedTuple):
    """As `broker._native.plans` has it."""

    interface: bytes
    version: int
    is_held: bool
    waits: bool  # for the disk, before an answer leaves
    call_slot: int
    match_slot: int
    origin: bytes
    subject: bytes
    arguments: list[tuple[bytes, int, bool, int]]
    answers: Answers


def answerable(documents: dict[str, list[Any]]) -> list[Answerable]:
    """Return the interface versions that may be answered without a provider, from the documents of an image.

    Raises:
        SnapshotRefused: they are of another version of this software.
    """
    try:
        providers = {provider.id: provider for provider in msgspec.convert(documents["providers"], list[Provider])}
        bases = {base.id: base for base in msgspec.convert(documents["bases"], list[BaseDeclaration])}
        found = []
        for interface in msgspec.convert(documents["interfaces"], list[Interface]):
            operation = interface.operation
            base = bases[operation.base] if isinstance(operation, RecordsOperation) else None
            if (base or interface.freshness.cacheable) and not interface.side_effect:
                found.append(Answerable(interface, providers[interface.provider], base))
    except (msgspec.MsgspecError, KeyError) as error:
        raise SnapshotRefused("the snapshot is of another version of this software") from error
    return found


class Planner:
    """Makes plans of images."""

    def __init__(self, settings: Config, counts: NamedCounts) -> None:
        self._settings = settings
        self._counts = counts
        self._zone = zoneinfo.ZoneInfo(settings.policy.time_zone)
        self._bases: Bases | None = None

    def close_replaced(self) -> None:
        """Let go of bases that were loaded anew."""
        if self._bases is not None:
            self._bases.close_replaced()

    def plans(self, image: Image, known: list[Answerable]) -> Plans:
        """Return what native code answers by under an image."""
        return Plans(image, [self._planned(image, *one) for one in known])

    def _planned(self, image: Image, interface: Interface, provider: Provider, base: BaseDeclaration | None) -> Planned:
        held, name = base is not None, f"{provider.level}/{interface.id}"
        interface_id = interface.id.encode()
        return Planned(
            interface=interface_id,
            version=interface.version,
            is_held=held,
            waits=waits_for_disk(self._settings.audit.mode, interface),
            call_slot=self._counts.slot(f"{CALLS[held]}/{name}".encode()),
            match_slot=self._counts.slot(f"{MATCHES[held]}/{name}".encode()),
            origin=origin(LEVELS[provider.level], provider.id.encode(), interface_id, interface.version),
            subject=interface.subject.argument.encode(),
            arguments=[
                (name.encode(), KINDS[argument.type], argument.required, argument.max_chars)
                for name, argument in interface.arguments.items()
            ],
            answers=self._answers(image, interface, base),
        )

    def _answers(self, image: Image, interface: Interface, base: BaseDeclaration | None) -> Answers:
        # Only once there is something to compare: 3 MB, and 60 ms beside the loop.
        from broker.records.store import Bases  # noqa: PLC0415
        from broker.serve.front_answers import Answers, Held  # noqa: PLC0415

        if self._bases is None:
            self._bases = Bases(self._settings)
        operation = interface.operation
        held = Held(operation, base, self._bases) if base and isinstance(operation, RecordsOperation) else None
        return Answers(image, interface, held, self._zone)
