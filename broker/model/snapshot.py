"""The policy snapshot: everything a decision needs, compiled once from what is in force, immutable and versioned.

A call reads the snapshot once and decides by that one throughout. Who may ask what stands in the image, which native code reads
and other processes map; what Python needs to ask a provider stands beside it. What must not go in here: compiling
(`policy/compiler.py`), where values come from (`policy/store.py`), and when a newer snapshot is swapped in (`serve/`).
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, Self

import msgspec

from broker._native.policy import Image
from broker.model.call import Authority
from broker.model.catalogue import (
    DAYS,
    BaseDeclaration,
    Consumer,
    Disclosure,
    Grant,
    Group,
    Interface,
    Provider,
    Resource,
    Standing,
)

CURRENT = 0  # the version number that means "the current one"
VERDICT_ONLY, STALE_ALLOWED, OPERATOR_REQUIRED, DEVICE_REQUIRED = 1, 2, 4, 8  # flags of a term
# Of an interface; whatever else it has counts.
_NO_PART_OF_ANSWERS = frozenset(("title", "resource", "timeout_ms", "probe", "standing", "match"))
_EPOCH = dt.datetime(1970, 1, 1, tzinfo=dt.UTC)


class Holding(NamedTuple):
    """One grant that a consumer holds: when it is good, and where the image says the rest."""

    grant: str
    valid_from_ms: int
    valid_until_ms: int
    refs: tuple[int, ...]  # of its terms, one a version of the interface


class Snapshot(msgspec.Struct, frozen=True, kw_only=True):
    """What the broker serves from."""

    image: Image
    providers: Mapping[str, Provider]
    interfaces: Mapping[tuple[str, int], Interface]  # each under its version, the newest also under CURRENT
    definitions: Mapping[tuple[str, int], bytes]  # by interface and version: 16 bytes that stand for it and its provider
    consumers: Mapping[str, Consumer]
    numbers: Mapping[str, int]  # of consumers, in the image
    by_number: tuple[Consumer, ...]
    public_keys: Mapping[tuple[str, str], str]  # (consumer, key id) -> base64
    certificate_names: Mapping[str, str]  # "uri:…" or "dns:…" of a client certificate -> consumer
    resources: Mapping[str, Resource]
    bases: Mapping[str, BaseDeclaration]
    groups: Mapping[str, Group]
    authorities: dict[int, Authority] = {}  # those asked for so far, by ref

    @classmethod
    def of(
        cls, image: Image, values: Mapping[str, Mapping[str, Any]], definitions: Mapping[tuple[str, int], bytes] | None = None
    ) -> Self:
        """Put an image and the values of the catalogue, by kind and key, together; with definitions, where they are known."""
        providers = dict(values["providers"])
        interfaces = list(values["interfaces"].values())
        consumers = dict(values["consumers"])
        return cls(
            image=image,
            providers=providers,
            interfaces=_by_version(interfaces),
            definitions=definitions or definitions_of(values["interfaces"], providers),
            consumers=consumers,
            numbers={consumer: number for number, consumer in enumerate(sorted(consumers))},
            by_number=tuple(consumers[consumer] for consumer in sorted(consumers)),
            public_keys={(c.id, key.id): key.public_key for c in consumers.values() for key in c.keys},
            certificate_names={name: c.id for c in consumers.values() for name in c.certificates},
            resources=dict(values["resources"]),
            bases=dict(values["bases"]),
            groups=dict(values["groups"]),
        )

    @property
    def version(self) -> int:
        """Number of the revision it was compiled from."""
        return self.image.version

    @property
    def digest(self) -> bytes:
        """SHA-256 of the image."""
        return self.image.digest

    @property
    def grants(self) -> int:
        """Number of grants in force."""
        return self.image.grants

    def authority(self, ref: int) -> Authority:
        """Return what a term of the image says about a call that it covers."""
        found = self.authorities.get(ref)
        if found is None:
            found = self.authorities[ref] = authority_of(self.image, ref)
        return found

    def held_by(self, consumer: str) -> list[Holding]:
        """Return what a consumer holds, itself or by a group, in order of id, whether or not it is good now.

        Takes some 10 µs a grant: where there may be many, not for an event loop.
        """
        held: dict[str, Holding] = {}
        for ref in self.image.held_by(self.numbers[consumer]) if consumer in self.numbers else ():
            term = self.image.term(ref)
            before = held.get(term["id"])
            refs = (*(before.refs if before else ()), ref)
            held[term["id"]] = Holding(term["id"], term["valid_from_ms"], term["valid_until_ms"], refs)
        return [held[key] for key in sorted(held)]

    def grant(self, holding: Holding) -> Grant:
        """Return the grant that a consumer holds, with the fields that it gives of any version."""
        grants = [_grant(self.image.term(ref)) for ref in holding.refs]
        fields = {field for grant in grants for field in grant.fields}  # each version answers its own
        return msgspec.structs.replace(grants[-1], fields=tuple(sorted(fields)))


def _by_version(interfaces: list[Interface]) -> dict[tuple[str, int], Interface]:
    table: dict[tuple[str, int], Interface] = {}
    for interface in sorted(interfaces, key=lambda i: i.version):
        table[interface.id, interface.version] = table[interface.id, CURRENT] = interface
    return table


def authority_of(image: Image, ref: int) -> Authority:
    """Return what a term of an image says about a call that it covers."""
    term = image.term(ref)
    max_age_s = term["cache_max_age_s"]
    return Authority(
        ref=ref,
        grant=term["id"],
        fields=term["fields"],
        mask=term["mask"],
        cache_max_age_ms=None if max_age_s < 0 else max_age_s * 1000,
        stale_allowed=bool(term["flags"] & STALE_ALLOWED),
        quota_per_day=term["quota_per_day"],
        quota_total=term["quota_total"],
        subjects_per_day=term["subjects_per_day"],
        counter=term["counter"],
        embargo_class=term["embargo_class"],
    )


def with_standing(authority: Authority, standing: Standing) -> Authority:
    """To compare, the fields that say whether a record is in force are needed as well; they are not shown."""
    fields = tuple(sorted({*authority.fields, *standing.fields}))
    if len(fields) == len(authority.fields):
        return authority
    return msgspec.structs.replace(authority, fields=fields, mask=mask_of(fields))


def _grant(term: Mapping[str, Any]) -> Grant:
    """Read a term back into the grant it was packed from; hours come back as one span a day."""
    flags, max_age_s = term["flags"], term["cache_max_age_s"]
    return Grant(
        id=term["id"],
        consumer=term["holder"],
        interface=term["interface"],
        purposes=term["purposes"],
        fields=term["fields"],
        valid_from=_EPOCH + dt.timedelta(milliseconds=term["valid_from_ms"]),
        valid_until=_EPOCH + dt.timedelta(milliseconds=term["valid_until_ms"]),
        matters=term["matters"],
        caller_units=term["units"],
        hours=tuple(_span(begins, ends) for begins, ends in term["hours"]),
        operator_required=bool(flags & OPERATOR_REQUIRED),
        device_required=bool(flags & DEVICE_REQUIRED),
        legal_basis=term["legal_basis"],
        rate_per_second=term["rate_per_second"],
        burst=term["burst"],
        quota_per_day=term["quota_per_day"],
        quota_total=term["quota_total"],
        subjects_per_day=term["subjects_per_day"],
        disclosure=Disclosure.VERDICT_ONLY if flags & VERDICT_ONLY else Disclosure.DATA,
        cache_max_age_s=None if max_age_s < 0 else max_age_s,
        stale_allowed=bool(flags & STALE_ALLOWED),
        embargo_class=term["embargo_class"],
    )


def _span(begins: int, ends: int) -> str:
    day, minute = divmod(begins, 24 * 60)
    until = ends - day * 24 * 60
    return f"{DAYS[day]} {minute // 60:02}:{minute % 60:02}-{until // 60:02}:{until % 60:02}"


def definitions_of(interfaces: Mapping[Any, Interface], providers: Mapping[str, Provider]) -> dict[tuple[str, int], bytes]:
    """Return the definition of each version of each interface."""
    return {(i.id, i.version): definition_of(i, providers[i.provider]) for i in interfaces.values()}


def definition_of(interface: Interface, provider: Provider) -> bytes:
    """Return 16 bytes that stand for an interface and its provider.

    What was fetched under one definition is no answer under another: another source, other fields, another freshness. What
    no answer depends on does not count: titles, names, who approves, where it is mounted, how it is probed, for how long it
    may be waited for. The provider's id and level do, for they stand in every answer.
    """
    what = {name: getattr(interface, name) for name in interface.__struct_fields__ if name not in _NO_PART_OF_ANSWERS}
    for schema in ("arguments", "answer"):
        what[schema] = {name: msgspec.structs.replace(one, title="") for name, one in what[schema].items()}
    source = (provider.id, provider.level, provider.endpoint)
    return hashlib.sha256(msgspec.msgpack.encode((what, source), order="deterministic")).digest()[:16]


def mask_of(fields: Iterable[str]) -> bytes:
    """Return 16 bytes that stand for a set of field names (names hold no NUL, so joining by it is unambiguous)."""
    return hashlib.sha256("\0".join(fields).encode()).digest()[:16]


def credential_of(consumer: str, key: tuple[str, str] | None, name: str) -> bytes:
    """Return 16 bytes that stand for what a consumer proved: a key (its id and the public half), a certificate's name, or both.

    None of the parts holds a NUL, so joining by it is unambiguous.
    """
    return hashlib.sha256("\0".join((consumer, *(key or ("", "")), name)).encode()).digest()[:16]


def credentials_of(consumer: Consumer) -> Iterator[bytes]:
    """Yield every credential that is good for a consumer."""
    keys = [(key.id, key.public_key) for key in consumer.keys]
    yield from (credential_of(consumer.id, key, name) for key in keys for name in consumer.certificates)
    if consumer.identity == "either":
        yield from (credential_of(consumer.id, key, "") for key in keys)
        yield from (credential_of(consumer.id, None, name) for name in consumer.certificates)
