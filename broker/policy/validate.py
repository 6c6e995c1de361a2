"""Rules of a catalogue that need more than one value: references, duplicates, what a grant may name. Pure.

Each rule is a generator of problems; each problem begins with the file and key it is about. Rules that only a connector can
judge (a query's parameters, a dialect's name) are given in by the caller, for connectors are no business of the policy.
"""

from __future__ import annotations

import base64
import ipaddress
import itertools
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.model.catalogue import (
    PLACEHOLDER,
    AnswerField,
    BaseDeclaration,
    Consumer,
    Envelope,
    Grant,
    Group,
    GrpcEndpoint,
    GrpcOperation,
    HttpEndpoint,
    HttpOperation,
    Interface,
    Provider,
    RecordsEndpoint,
    RecordsOperation,
    Resource,
    SemanticType,
    SqlEndpoint,
    SqlOperation,
    Template,
)
from broker.model.semantics import NotCanonical, canonical
from broker.policy.directory import Contents, key_of
from broker.policy.wording import CLOCK, OPERATOR

ConnectorRule = Callable[[Interface, Provider], list[str]]

_SPEAKS: dict[type, type] = {
    HttpOperation: HttpEndpoint,
    GrpcOperation: GrpcEndpoint,
    SqlOperation: SqlEndpoint,
    RecordsOperation: RecordsEndpoint,
}
_PORTS = range(1, 65_536)
_NO_FIELD = AnswerField(type=SemanticType.TEXT)


def problems(contents: Contents, connector_rule: ConnectorRule) -> list[str]:
    """Return everything that is wrong between the values of a catalogue; nothing if it can be applied."""
    providers: dict[str, Provider] = {p.value.id: p.value for p in contents.entries["providers"]}
    interfaces: dict[str, list[Interface]] = defaultdict(list)
    for located in contents.entries["interfaces"]:
        interfaces[located.value.id].append(located.value)
    found = list(_duplicates(contents))
    for located in contents.entries["providers"]:
        found += _prefixed(located.where, _provider_problems(located.value))
    for located in contents.entries["resources"]:
        found += _prefixed(located.where, _resource_problems(located.value, providers))
    resources = {r.value.code for r in contents.entries["resources"]}
    bases = {b.value.id: b.value for b in contents.entries["bases"]}
    for located in contents.entries["bases"]:
        found += _prefixed(located.where, _base_problems(located.value))
    for located in contents.entries["interfaces"]:
        found += _prefixed(located.where, _interface_problems(located.value, providers, resources, connector_rule))
        found += _prefixed(located.where, _records_problems(located.value, bases))
    consumers = {c.value.id for c in contents.entries["consumers"]}
    found += _holder_problems(contents, consumers)
    groups = {g.value.id for g in contents.entries["groups"]}
    for located in contents.entries["grants"]:
        found += _prefixed(located.where, grant_problems(located.value, consumers | groups, interfaces))
    return found


def _holder_problems(contents: Contents, consumers: set[str]) -> list[str]:
    """Everything about who may hold a grant: consumers, groups of them, and providers' approvers."""
    found = list(_shared_certificates(contents))
    for located in contents.entries["consumers"]:
        found += _prefixed(located.where, _consumer_problems(located.value))
    for located in contents.entries["groups"]:
        found += _prefixed(located.where, _group_problems(located.value, consumers))
    for located in contents.entries["providers"]:
        unknown = sorted(set(located.value.approvers) - consumers)
        found += [f"{located.where}.approvers: no consumer `{approver}`" for approver in unknown]
    return found


def _shared_certificates(contents: Contents) -> Iterator[str]:
    """A name in a certificate stands for one consumer."""
    first: dict[str, str] = {}
    for located in contents.entries["consumers"]:
        for name in located.value.certificates:
            if name in first:
                yield f"{located.where}.certificates: `{name}` stands already at {first[name]}"
            first.setdefault(name, located.where)


def _prefixed(where: str, found: Iterator[str]) -> list[str]:
    return [f"{where}.{problem}" for problem in found]


def _duplicates(contents: Contents) -> Iterator[str]:
    for entries in contents.entries.values():
        first: dict[str, str] = {}
        for located in entries:
            if key_of(located.value) in first:
                yield f"{located.where}.id: stands already at {first[key_of(located.value)]}"
            first.setdefault(key_of(located.value), located.where)


def _provider_problems(provider: Provider) -> Iterator[str]:
    """What the pattern of a URL cannot say."""
    if not isinstance(provider.endpoint, HttpEndpoint):
        return
    address = provider.endpoint.base_url.partition("://")[2]
    host, _, port = address.partition("]:") if address.startswith("[") else address.partition(":")
    if port and int(port) not in _PORTS:
        yield "endpoint.base_url: the port must be 1 to 65535"
    if host.startswith("[") and not _is_ipv6(host.strip("[]")):
        yield "endpoint.base_url: what stands in brackets is not an IPv6 address"


def _is_ipv6(text: str) -> bool:
    try:
        ipaddress.IPv6Address(text)
    except ValueError:
        return False
    return True


def _resource_problems(resource: Resource, providers: dict[str, Provider]) -> Iterator[str]:
    if resource.provider not in providers:
        yield f"provider: no provider `{resource.provider}`"


def _base_problems(base: BaseDeclaration) -> Iterator[str]:
    for name in base.key:
        if name not in base.fields:
            yield f"key: `{name}` is not a field"
        elif not base.fields[name].required:
            yield f"fields.{name}.required: must be true for a part of the key"
    if len(set(base.key)) != len(base.key):
        yield "key: a field stands twice"
    titles = [field.title for field in base.fields.values() if field.title]
    for name, field in base.fields.items():
        if titles.count(field.title) > 1 or (field.title in base.fields and field.title != name):
            yield f"fields.{name}.title: means another field too, so a column of that name would"
    if base.search:
        yield from _search_problems(base, base.search.fields())


# What a field may be of that is searched by; a sex has no type of its own, nor had a telephone number always.
_SEARCHED = {
    "name": (SemanticType.PERSON_NAME,),
    "resident_id": (SemanticType.RESIDENT_ID,),
    "sex": (SemanticType.TEXT, SemanticType.NUMBER),
    "birth_date": (SemanticType.DATE,),
    "address": (SemanticType.ADDRESS,),
    "phone": (SemanticType.PHONE, SemanticType.TEXT, SemanticType.NUMBER),
}


def _search_problems(base: BaseDeclaration, searched: Mapping[str, str]) -> Iterator[str]:
    for kind, name in searched.items():
        types = _SEARCHED[kind]
        if name not in base.fields:
            yield f"search.{kind}: `{name}` is not a field"
        elif base.fields[name].type not in types:
            yield f"search.{kind}: `{name}` must be of type {' or '.join(types)}"
        elif list(searched.values()).index(name) != list(searched).index(kind):
            yield f"search.{kind}: `{name}` is searched by already"
    if len(searched) == 1:
        yield "search: a name alone tells nobody apart; name another field"


def _records_problems(interface: Interface, bases: Mapping[str, BaseDeclaration]) -> Iterator[str]:
    """What an interface says of the base that it is answered from."""
    operation = interface.operation
    if not isinstance(operation, RecordsOperation):
        return
    base = bases.get(operation.base)
    if base is None:
        yield f"operation.base: no base `{operation.base}`"
        return
    if interface.freshness.cacheable:
        yield "freshness.cacheable: must be false for a record base, which is read each time"
    if interface.side_effect:
        yield "side_effect: must be false for a record base"
    yield from _key_problems(interface, base)
    yield from _held_problems(interface, operation, base)


def _key_problems(interface: Interface, base: BaseDeclaration) -> Iterator[str]:
    if set(interface.arguments) != set(base.key):
        yield f"arguments: must be the key of base `{base.id}`: {', '.join(base.key)}"
    for name in sorted(interface.arguments.keys() & set(base.key) & base.fields.keys()):
        if interface.arguments[name].type is not base.fields[name].type:
            yield f"arguments.{name}.type: must be that of the base, {base.fields[name].type}"
        if not interface.arguments[name].required:
            yield f"arguments.{name}.required: must be true for a part of the key"


def _held_problems(interface: Interface, operation: RecordsOperation, base: BaseDeclaration) -> Iterator[str]:
    for name, field in interface.answer.items():
        held = base.fields.get(operation.fields.get(name, name))
        if held is None:
            yield f"answer.{name}: base `{base.id}` has no field `{operation.fields.get(name, name)}`"
        elif field.type is not held.type:
            yield f"answer.{name}.type: must be that of the base, {held.type}"
        elif field.required and not held.required:
            yield f"answer.{name}.required: must be false, for the base does not require it"


def _interface_problems(
    interface: Interface, providers: dict[str, Provider], resources: set[str], connector_rule: ConnectorRule
) -> Iterator[str]:
    if interface.resource and interface.resource not in resources:
        yield f"resource: no resource `{interface.resource}`"
    yield from _subject_problems(interface)
    yield from _standing_problems(interface)
    yield from _freshness_problems(interface)
    yield from _operation_problems(interface)
    yield from _probe_problems(interface)
    yield from _audit_problems(interface)
    provider = providers.get(interface.provider)
    if provider is None:
        yield f"provider: no provider `{interface.provider}`"
    elif provider.endpoint is None:
        yield f"provider: `{interface.provider}` has no endpoint, so nothing can be asked of it"
    elif not isinstance(provider.endpoint, _SPEAKS[type(interface.operation)]):
        yield "operation.connector: is not the connector of the provider's endpoint"
    else:
        yield from connector_rule(interface, provider)


def _subject_problems(interface: Interface) -> Iterator[str]:
    subject = interface.subject
    asked = interface.arguments.get(subject.argument)
    if asked is None:
        yield f"subject.argument: `{subject.argument}` is not an argument"
    if subject.answer is None:
        return
    answered = interface.answer.get(subject.answer)
    if answered is None:
        yield f"subject.answer: `{subject.answer}` is not a field of the answer"
    elif asked is not None and answered.type is not asked.type:
        yield "subject.answer: must have the semantic type of subject.argument"


def _standing_problems(interface: Interface) -> Iterator[str]:
    standing = interface.standing
    if standing.field is not None and standing.field not in interface.answer:
        yield f"standing.field: `{standing.field}` is not a field of the answer"
    named = {state: getattr(standing, state) for state in ("valid", "cancelled", "deceased", "expired")}
    for key, values in named.items():
        if values and standing.field is None:
            yield f"standing.{key}: is never looked at without `field`"
    for one, other in itertools.combinations(named, 2):
        for value in sorted(set(named[one]) & set(named[other])):
            yield f"standing.{other}: `{value}` stands in `{one}` too"
    if standing.until is not None and interface.answer.get(standing.until, _NO_FIELD).type is not SemanticType.DATE:
        yield f"standing.until: `{standing.until}` is not a date of the answer"
    for name in sorted(set(interface.match.decisive) - interface.answer.keys()):
        yield f"match.decisive: `{name}` is not a field of the answer"


def _freshness_problems(interface: Interface) -> Iterator[str]:
    freshness = interface.freshness
    if freshness.cacheable and interface.side_effect:
        yield "freshness.cacheable: an interface with side effects is never cached"
    if freshness.cacheable and not freshness.ttl_s:
        yield "freshness.ttl_s: must be above 0 for a cacheable interface"
    if not freshness.cacheable and (freshness.ttl_s or freshness.negative_ttl_s):
        yield "freshness.cacheable: must be true where a time to live is given"


def _audit_problems(interface: Interface) -> Iterator[str]:
    if interface.sensitive and interface.audit == "buffered":
        yield "audit: must be durable where sensitive is true"


def _probe_problems(interface: Interface) -> Iterator[str]:
    if interface.probe and interface.side_effect:
        yield "probe: an interface with side effects is never asked for the sake of asking"
    for name, text in interface.probe.items():
        if name not in interface.arguments:
            yield f"probe.{name}: is not an argument"
            continue
        try:
            canonical(interface.arguments[name].type, text)
        except NotCanonical as error:
            yield f"probe.{name}: {error}"
    required = {name for name, argument in interface.arguments.items() if argument.required}
    for name in sorted(required - interface.probe.keys()) if interface.probe else ():
        yield f"probe.{name}: is required"


def _operation_problems(interface: Interface) -> Iterator[str]:
    for name in sorted(interface.operation.fields.keys() - interface.answer.keys()):
        yield f"operation.fields.{name}: is not a field of the answer"
    if isinstance(interface.operation, SqlOperation | RecordsOperation):
        return
    yield from _envelope_problems(interface.operation.envelope)
    yield from _template_problems(interface.operation.parameters, interface.arguments.keys())
    if interface.side_effect and isinstance(interface.operation, HttpOperation) and interface.operation.method == "GET":
        yield "operation.method: must be POST where side_effect is true; a GET may be sent twice"


def _envelope_problems(envelope: Envelope) -> Iterator[str]:
    if envelope.code and not envelope.success:
        yield "operation.envelope.success: must name a code where `code` is given, or every answer is refused"
    lists = {"success": set(envelope.success), "not_found": set(envelope.not_found), "faults": set(envelope.faults)}
    for key, codes in lists.items():
        if codes and not envelope.code:
            yield f"operation.envelope.{key}: is never looked at without `code`, the path of the business code"
    for one, other in itertools.combinations(lists, 2):
        for code in sorted(lists[one] & lists[other]):
            yield f"operation.envelope.{other}: `{code}` stands in `{one}` too"


def _template_problems(template: Template, arguments: Set[str]) -> Iterator[str]:
    sent = set()
    for key, text in template.items():
        placeholder = PLACEHOLDER.fullmatch(text)
        if placeholder:
            sent.add(placeholder[1])
            if placeholder[1] not in arguments:
                yield f"operation.parameters.{key}: `{text}` is not an argument"
        elif "{" in text or "}" in text:
            yield f"operation.parameters.{key}: must be one {{argument}} and nothing else, or a constant without braces"
    for name in sorted(arguments - sent):
        yield f"arguments.{name}: is not sent to the provider (operation.parameters)"


def _consumer_problems(consumer: Consumer) -> Iterator[str]:
    yield from _name_problems(consumer.id)
    for key in consumer.keys:
        try:
            Ed25519PublicKey.from_public_bytes(base64.b64decode(key.public_key))
        except ValueError:
            yield f"keys ({key.id}).public_key: is not an Ed25519 public key"
    if len({key.id for key in consumer.keys}) != len(consumer.keys):
        yield "keys: a key id stands twice"
    if consumer.identity == "both" and not (consumer.keys and consumer.certificates):
        yield "identity: both are needed, so `keys` and `certificates` must not be empty"


def _name_problems(name: str) -> Iterator[str]:
    """The history of grants would not tell such a holder from the broker's own signatures."""
    if name in (OPERATOR, CLOCK):
        yield f"id: `{OPERATOR}` and `{CLOCK}` are reserved; choose another"


def _group_problems(group: Group, consumers: set[str]) -> Iterator[str]:
    yield from _name_problems(group.id)
    if group.id in consumers:
        yield f"id: there is a consumer `{group.id}`"
    for member in sorted(set(group.members) - consumers):
        yield f"members: no consumer `{member}`"


def grant_problems(grant: Grant, holders: set[str], interfaces: Mapping[str, Sequence[Interface]]) -> Iterator[str]:
    """Yield what is wrong with a grant, given the consumers and groups there are, and the versions of every interface."""
    if grant.consumer not in holders:
        yield f"consumer: no consumer or group `{grant.consumer}`"
    if grant.interface not in interfaces:
        yield f"interface: no interface `{grant.interface}`"
    else:
        answered: set[Any] = set().union(*(interface.answer for interface in interfaces[grant.interface]))
        for field in sorted(set(grant.fields) - answered):
            yield f"fields: `{field}` is not a field of `{grant.interface}`"
    if grant.valid_from >= grant.valid_until:
        yield "valid_until: must be later than valid_from"
    for span in grant.hours:
        begins, _, ends = span.rpartition(" ")[2].partition("-")
        if begins >= ends:
            yield f"hours: `{span}` ends before it begins; write two spans for a night"
