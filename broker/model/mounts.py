"""Mounts: which resources should have an interface, which have one, and whether it works. Pure: a snapshot and what was found.

A resource is mounted when an interface in force names it; with several, the best of them counts. `since` is when a resource
came into the state that it is in. What must not go in here: asking anybody (`serve/probes.py`), keeping states
(`policy/mounts.py`).
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Mapping
from typing import NamedTuple

from broker.model.catalogue import Interface, Resource, ShareType
from broker.model.snapshot import CURRENT, Snapshot


class MountState(enum.StrEnum):
    """What is the matter with a resource's interface."""

    MOUNTED = "MOUNTED"  # it answers, and by its schema
    NO_INTERFACE = "NO_INTERFACE"
    UNREACHABLE = "UNREACHABLE"
    SCHEMA_CHANGED = "SCHEMA_CHANGED"  # it answers, but not what the catalogue says


class Mount(NamedTuple):
    """A state, and when it began."""

    state: MountState
    since_ms: int


class Finding(NamedTuple):
    """What was found of one interface."""

    reachable: bool
    fits: bool  # its answers fit its schema


class Unmounted(NamedTuple):
    """One line of the report's list: a resource that does not work."""

    resource: Resource
    mount: Mount


class Counts(NamedTuple):
    """How many resources should have an interface, have one, could be reached, and answered by their schema."""

    resources: int
    mounted: int
    reachable: int
    fitting: int

    @property
    def rate(self) -> float:
        """Part of the resources that is mounted; where nothing should be, nothing is missing."""
        return self.mounted / self.resources if self.resources else 1.0


class Report(NamedTuple):
    """All of it."""

    total: Counts
    providers: Mapping[str, Counts]  # in order of id; those that have resources
    unmounted: tuple[Unmounted, ...]  # in order of provider and code
    probed_at_ms: int | None  # None: something has not been probed at all yet


_REACHABLE = (MountState.MOUNTED, MountState.SCHEMA_CHANGED)


def interfaces_of(snapshot: Snapshot) -> dict[str, list[Interface]]:
    """Return the interfaces mounted on each resource, every version, in order of id and version."""
    found: dict[str, list[Interface]] = {}
    for (_, version), interface in sorted(snapshot.interfaces.items()):
        if version != CURRENT and interface.resource:
            found.setdefault(interface.resource, []).append(interface)
    return found


def expected(snapshot: Snapshot) -> list[Resource]:
    """Return the resources that should have an interface, in order of provider and code."""
    shared = (resource for resource in snapshot.resources.values() if resource.share_type is not ShareType.NOT_SHARED)
    return sorted(shared, key=lambda resource: (resource.provider, resource.code))


def state_of(findings: Iterable[Finding | None]) -> MountState | None:
    """Return the state of a resource whose interfaces were found so; None for one not probed yet, and for the state then."""
    found = list(findings)
    known = [finding for finding in found if finding is not None]
    if not found:
        return MountState.NO_INTERFACE
    if any(finding.reachable and finding.fits for finding in known):
        return MountState.MOUNTED
    if any(finding.reachable for finding in known):
        return MountState.SCHEMA_CHANGED
    return MountState.UNREACHABLE if len(known) == len(found) else None


def advance(held: Mapping[str, Mount], states: Mapping[str, MountState | None], now_ms: int) -> dict[str, Mount]:
    """Return the mounts after what was found: a state that lasts keeps its beginning, one that is not known yet stays.

    A resource that has just got its first interface has no mount until that was probed.
    """
    mounts: dict[str, Mount] = {}
    for code, state in states.items():
        before = held.get(code)
        if state is None:
            if before is not None and before.state is not MountState.NO_INTERFACE:
                mounts[code] = before
        else:
            mounts[code] = before if before is not None and before.state is state else Mount(state, now_ms)
    return mounts


def recall(kept: Mapping[str, Mount], mounts: Mapping[str, Mount]) -> dict[str, Mount]:
    """Return the mounts after what was kept of an earlier time could be read: a state that has lasted began then."""
    changed = {code: mount for code, mount in mounts.items() if code not in kept or kept[code].state is not mount.state}
    return {**kept, **changed}


def report(resources: Iterable[Resource], mounts: Mapping[str, Mount], probed_at_ms: int | None) -> Report:
    """Count and list, given the resources that should have an interface and the mounts of those that are known."""
    wanted = list(resources)
    by_provider: dict[str, list[Resource]] = {}
    for resource in wanted:
        by_provider.setdefault(resource.provider, []).append(resource)
    broken = (Unmounted(resource, mounts[resource.code]) for resource in wanted if resource.code in mounts)
    return Report(
        total=_counts(wanted, mounts),
        providers={provider: _counts(own, mounts) for provider, own in sorted(by_provider.items())},
        unmounted=tuple(line for line in broken if line.mount.state is not MountState.MOUNTED),
        probed_at_ms=probed_at_ms,
    )


def _counts(resources: list[Resource], mounts: Mapping[str, Mount]) -> Counts:
    states = [mounts[resource.code].state if resource.code in mounts else None for resource in resources]
    return Counts(
        resources=len(states),
        mounted=sum(state is not MountState.NO_INTERFACE for state in states),
        reachable=sum(state in _REACHABLE for state in states),
        fitting=sum(state is MountState.MOUNTED for state in states),
    )
