"""The policy snapshot: everything a decision needs, compiled once from a catalogue, immutable and versioned.

Lookups are plain dictionary reads. A call reads the snapshot once and decides by that one throughout. What must not go in
here: where the catalogue comes from (`policy/store.py`) and when a newer one is swapped in (`serve/`).
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from datetime import datetime

import msgspec

from broker.model.call import Authority
from broker.model.catalogue import Catalogue, Consumer, Grant, Group, Interface, Provider, Resource

CURRENT = 0  # the version number that means "the current one"


class Term(msgspec.Struct, frozen=True, kw_only=True):
    """One grant as it applies to one interface version, with its times as milliseconds since the epoch."""

    valid_from_ms: int
    valid_until_ms: int
    purposes: frozenset[str]
    matters: frozenset[str]  # empty: any
    authority: Authority


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker serves from."""

    version: int
    digest: bytes  # SHA-256 of the catalogue it was compiled from
    providers: Mapping[str, Provider]
    interfaces: Mapping[tuple[str, int], Interface]  # each under its version, the newest also under CURRENT
    definitions: Mapping[tuple[str, int], bytes]  # by interface and version: 16 bytes that stand for it and its provider
    consumers: Mapping[str, Consumer]
    public_keys: Mapping[tuple[str, str], str]  # (consumer, key id) -> base64
    terms: Mapping[tuple[str, str, int], tuple[Term, ...]]  # (consumer, interface, version), in order of grant id
    resources: Mapping[str, Resource]
    groups: Mapping[str, Group]
    grants: int

    def granted_to(self, consumer: str) -> list[Grant]:
        """Return every grant that a consumer holds, itself or by a group, in order of id, whether or not it holds now."""
        holders = {consumer, *(group.id for group in self.groups.values() if consumer in group.members)}
        found = {term.authority.grant.id: term.authority.grant for terms in self.terms.values() for term in terms}
        return [found[key] for key in sorted(found) if found[key].consumer in holders]


def compile_snapshot(catalogue: Catalogue, version: int) -> Snapshot:
    """Compile a valid catalogue (see `policy/validate.py`) into a snapshot."""
    providers = {provider.id: provider for provider in catalogue.providers}
    return Snapshot(
        version=version,
        digest=hashlib.sha256(msgspec.msgpack.encode(catalogue, order="deterministic")).digest(),
        providers=providers,
        interfaces=_by_version(catalogue.interfaces),
        definitions={(i.id, i.version): _definition(i, providers[i.provider]) for i in catalogue.interfaces},
        consumers={consumer.id: consumer for consumer in catalogue.consumers},
        public_keys={(c.id, key.id): key.public_key for c in catalogue.consumers for key in c.keys},
        terms=_terms(catalogue.grants, catalogue.interfaces),
        resources={resource.code: resource for resource in catalogue.resources},
        groups={group.id: group for group in catalogue.groups},
        grants=len(catalogue.grants),
    )


def _definition(interface: Interface, provider: Provider) -> bytes:
    """What was fetched under one definition is no answer under another: another source, other fields, another freshness."""
    return hashlib.sha256(msgspec.msgpack.encode((interface, provider), order="deterministic")).digest()[:16]


def _by_version(interfaces: tuple[Interface, ...]) -> dict[tuple[str, int], Interface]:
    table: dict[tuple[str, int], Interface] = {}
    for interface in sorted(interfaces, key=lambda i: i.version):
        table[interface.id, interface.version] = table[interface.id, CURRENT] = interface
    return table


def _terms(grants: tuple[Grant, ...], interfaces: tuple[Interface, ...]) -> dict[tuple[str, str, int], tuple[Term, ...]]:
    versions: dict[str, list[Interface]] = {}
    for interface in interfaces:
        versions.setdefault(interface.id, []).append(interface)
    table: dict[tuple[str, str, int], tuple[Term, ...]] = {}
    for grant in sorted(grants, key=lambda g: g.id):
        for interface in versions.get(grant.interface, ()):
            where = (grant.consumer, grant.interface, interface.version)
            table[where] = (*table.get(where, ()), _term(grant, interface))
    return table


def _term(grant: Grant, interface: Interface) -> Term:
    fields = tuple(sorted(set(grant.fields) & interface.answer.keys()))
    return Term(
        valid_from_ms=_milliseconds(grant.valid_from),
        valid_until_ms=_milliseconds(grant.valid_until),
        purposes=frozenset(grant.purposes),
        matters=frozenset(grant.matters),
        authority=Authority(grant=grant, fields=fields, mask=mask_of(fields)),
    )


def _milliseconds(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)


def mask_of(fields: tuple[str, ...]) -> bytes:
    """Return 16 bytes that stand for a set of field names (names hold no NUL, so joining by it is unambiguous)."""
    return hashlib.sha256("\0".join(fields).encode()).digest()[:16]


EMPTY = compile_snapshot(Catalogue(), 0)
