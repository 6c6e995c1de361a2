"""Probes the interfaces that are mounted on resources, keeps their states with their beginnings, and reports them.

An interface with `probe` arguments is asked; of the others only the provider's address is tried, once for all that share it,
and real calls tell whether its answers still fit. Whatever has not been probed is so at once, then each in its own moment of
`mounts.probe_s`. What must not go in here: what a state means (model/mounts.py) and the cache, which a probe must not touch.
"""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Mapping
from typing import NamedTuple

import msgspec
import structlog

from broker.errors import (
    BrokerError,
    ProviderError,
    ProviderNonsense,
    ProviderNotAsked,
    ProviderOverloaded,
    ProviderRefused,
    StartupError,
)
from broker.exchange import Exchange
from broker.model.call import Request
from broker.model.catalogue import Interface, Provider, RecordsOperation, Resource
from broker.model.mounts import Finding, Mount, Report, advance, expected, interfaces_of, recall, report, state_of
from broker.model.question import canonicalise
from broker.model.snapshot import Snapshot
from broker.policy.mounts import MountStates
from broker.telemetry import metrics
from broker.upstream.reach import reachable

log = structlog.get_logger("probes")

_ANSWERED = (ProviderNonsense, ProviderOverloaded, ProviderRefused)  # whoever says so is there
_OUTCOMES = {True: "REACHED", False: "UNREACHABLE", None: "NOT_SENT"}
_LONGEST_PAUSE_S = 1.0  # after which a changed catalogue is looked at


class Probe(NamedTuple):
    """One thing to try: an interface by its own arguments, or the address of a provider for all without."""

    interface: Interface
    provider: Provider


class Plan(NamedTuple):
    """What there is to probe and to report in one snapshot."""

    snapshot: Snapshot
    resources: list[Resource]  # those that should have an interface
    mounted: Mapping[str, list[Interface]]  # by resource
    probes: Mapping[bytes, Probe]


class MountProbes:
    """Probes what is mounted in one exchange's snapshot."""

    def __init__(self, exchange: Exchange, kept: MountStates) -> None:
        self._exchange = exchange
        self._settings = exchange.config.mounts
        self._kept = kept
        self._saved: dict[str, Mount] | None = None  # what the control plane holds; None: not read yet
        self._mounts: dict[str, Mount] = {}
        self._reached: dict[bytes, bool] = {}  # by what was tried
        self._due_s: dict[bytes, float] = {}
        self._probed_at_ms: int | None = None
        self._plan = _plan(exchange.snapshot)
        self._counted = exchange.snapshot
        self._seen = -1  # changes of the providers' sightings up to the last count

    async def run(self) -> None:
        """Probe until cancelled. Whatever goes wrong is tried again; nobody awaits this."""
        while True:
            try:
                await self.round()
            except Exception as error:
                log.error("mounts could not be probed", error=type(error).__name__)
            await asyncio.sleep(min(_LONGEST_PAUSE_S, self._settings.probe_s / 10))

    async def round(self) -> None:
        """Probe what is due, and keep what has changed; before there is a catalogue, nothing, or all that was kept would go."""
        plan = self._plan_now()
        if not plan.snapshot.version:
            return
        await self._remember()
        due = self._due(plan)
        await self._try(plan.snapshot, due)
        sightings = self._exchange.providers.sightings
        if due or plan.snapshot is not self._counted or sightings.changes != self._seen:
            self._counted, self._seen = plan.snapshot, sightings.changes
            self._count(self.report())
        await self._keep()

    def report(self, provider: str = "") -> Report:
        """Report on the resources of the catalogue in force, or of one provider; what is newer than the last probe shows."""
        plan = self._plan_now()
        mounts = self._settled(plan)
        own = [resource for resource in plan.resources if provider in ("", resource.provider)]
        complete = self._reached.keys() >= plan.probes.keys()
        return report(own, mounts, self._probed_at_ms if complete else None)

    def _plan_now(self) -> Plan:
        """Return the plan for the snapshot in force, made once for each."""
        if self._plan.snapshot is not self._exchange.snapshot:
            self._plan = _plan(self._exchange.snapshot)
            self._forget_except(self._plan)
        return self._plan

    def _forget_except(self, plan: Plan) -> None:
        for gone in (self._due_s.keys() | self._reached.keys()) - plan.probes.keys():
            self._due_s.pop(gone, None)
            self._reached.pop(gone, None)
        self._exchange.providers.sightings.forget_except(set(plan.snapshot.definitions.values()))

    def _settled(self, plan: Plan) -> dict[str, Mount]:
        states = {
            resource.code: state_of(self._finding(plan.snapshot, i) for i in plan.mounted.get(resource.code, ()))
            for resource in plan.resources
        }
        self._mounts = advance(self._mounts, states, self._exchange.clock().wall_ms)
        return self._mounts

    def _finding(self, snapshot: Snapshot, interface: Interface) -> Finding | None:
        reached = self._reached.get(_key(snapshot, interface))
        if reached is None:
            return None
        return Finding(reached, self._exchange.providers.sightings.fits(_definition(snapshot, interface)))

    def _due(self, plan: Plan) -> dict[bytes, Probe]:
        now_s = self._exchange.mono_s()
        return {key: probe for key, probe in plan.probes.items() if self._due_s.get(key, now_s) <= now_s}

    async def _try(self, snapshot: Snapshot, due: Mapping[bytes, Probe]) -> None:
        """Try what is due, some at once."""
        limit = asyncio.Semaphore(self._settings.probes_at_once)
        await asyncio.gather(*(self._try_one(snapshot, key, probe, limit) for key, probe in due.items()))
        if due or self._probed_at_ms is None:
            self._probed_at_ms = self._exchange.clock().wall_ms

    async def _try_one(self, snapshot: Snapshot, key: bytes, probe: Probe, limit: asyncio.Semaphore) -> None:
        async with limit:
            try:
                reached = await self._reach(snapshot, probe)
            finally:
                self._due_s[key] = next_s(key, self._exchange.mono_s(), self._settings.probe_s)
        if reached is not None:
            self._reached[key] = reached
        metrics.mount_probes.labels(_OUTCOMES[reached]).inc()

    async def _reach(self, snapshot: Snapshot, probe: Probe) -> bool | None:
        """Tell whether an answer came, whatever it said; how it fitted, the providers' sightings remember.

        None: the question could not be put, for a reason of ours, which says nothing about the provider.
        """
        interface, provider, config = probe.interface, probe.provider, self._exchange.config
        if not interface.probe or isinstance(interface.operation, RecordsOperation):
            return await self._is_there(snapshot, probe)
        timeout_s = min(interface.timeout_ms, config.grpc.default_timeout_ms) / 1000
        try:
            question = canonicalise(snapshot, interface, Request(interface=interface.id, arguments=interface.probe, purpose=""))
            await self._exchange.providers.ask(question, provider, timeout_s)
        except _ANSWERED:
            return True
        except ProviderNotAsked as error:  # by what it said when it was asked
            return error.after in {kind.reason for kind in _ANSWERED}
        except ProviderError as error:
            log.info("probe failed", interface=interface.id, provider=provider.id, reason=error.reason)
            return False
        except BrokerError as error:
            why = type(error).__name__
            log.warning("a probe could not be sent", interface=interface.id, provider=provider.id, error=why)
            return None
        return True

    async def _is_there(self, snapshot: Snapshot, probe: Probe) -> bool:
        """Tell whether there is anything to ask: a base that can be read, or somebody who listens."""
        operation, endpoint = probe.interface.operation, probe.provider.endpoint
        if isinstance(operation, RecordsOperation):
            return self._exchange.bases.readable(snapshot.bases[operation.base])
        if endpoint is None:
            return False
        return await reachable(endpoint, self._exchange.config.upstream.connect_timeout_ms / 1000)

    def _count(self, found: Report) -> None:
        metrics.mount_resources.set(found.total.resources)
        metrics.mount_mounted.set(found.total.mounted)
        metrics.mount_reachable.set(found.total.reachable)
        metrics.mount_rate.set(found.total.rate)
        metrics.mount_provider.clear()
        for provider, counts in found.providers.items():
            for state in ("resources", "mounted", "reachable"):
                metrics.mount_provider.labels(provider, state.upper()).set(getattr(counts, state))

    async def _remember(self) -> None:
        """Learn what the control plane keeps, before anything found is reported as new. It may be away, and is asked again."""
        if self._saved is not None:
            return
        try:
            self._saved = await asyncio.to_thread(self._kept.read)
        except StartupError as error:
            log.info("the states of mounts are not known", why=str(error))
            return
        self._mounts = recall(self._saved, self._mounts)
        self._settled(self._plan_now())

    async def _keep(self) -> None:
        """Bring the control plane in step. It may be away; probing goes on without it."""
        if self._saved is None or self._saved == self._mounts:
            return
        try:
            await self._save(self._saved, self._mounts)
        except StartupError as error:
            log.info("the states of mounts are not kept", why=str(error))

    async def _save(self, saved: dict[str, Mount], mounts: dict[str, Mount]) -> None:
        changed = {code: mount for code, mount in mounts.items() if saved.get(code) != mount}
        gone = saved.keys() - mounts.keys()
        await asyncio.to_thread(self._kept.write, changed, gone, self._exchange.clock().wall_ms)
        self._saved = mounts


def _plan(snapshot: Snapshot) -> Plan:
    mounted = interfaces_of(snapshot)
    interfaces = [interface for own in mounted.values() for interface in own]
    probes = {_key(snapshot, i): Probe(i, snapshot.providers[i.provider]) for i in interfaces}
    return Plan(snapshot, expected(snapshot), mounted, probes)


def _key(snapshot: Snapshot, interface: Interface) -> bytes:
    """Return what stands for the thing to try: changed, it is another one."""
    thing: object = snapshot.providers[interface.provider].endpoint
    if interface.probe:
        thing = (_definition(snapshot, interface), interface.probe)
    return hashlib.sha256(msgspec.msgpack.encode(thing, order="deterministic")).digest()[:16]


def _definition(snapshot: Snapshot, interface: Interface) -> bytes:
    return snapshot.definitions[interface.id, interface.version]


def next_s(key: bytes, now_s: float, period_s: float) -> float:
    """Return the next moment of a period that is this key's own: keys are spread over it evenly, and keep their places."""
    place_s = int.from_bytes(key[:4]) / 2**32 * period_s
    return now_s + ((place_s - now_s) % period_s or period_s)
