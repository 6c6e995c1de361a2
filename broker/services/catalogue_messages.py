"""Turns values of the catalogue into messages of `catalogue.proto`. What must not go in here: which of them, and how many."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable

from google.protobuf.timestamp_pb2 import Timestamp

from broker.model.catalogue import Disclosure, Grant, Interface, Level, Provider, Resource, ShareType
from broker.model.mounts import Report, Unmounted
from broker.model.snapshot import Snapshot
from broker.v1 import catalogue_pb2 as pb
from broker.v1 import exchange_pb2, grants_pb2

_SHARE_TYPES = {
    ShareType.UNCONDITIONAL: pb.SHARE_TYPE_UNCONDITIONAL,
    ShareType.CONDITIONAL: pb.SHARE_TYPE_CONDITIONAL,
    ShareType.NOT_SHARED: pb.SHARE_TYPE_NOT_SHARED,
}
LEVELS = {
    Level.NATIONAL: exchange_pb2.LEVEL_NATIONAL,
    Level.PROVINCIAL: exchange_pb2.LEVEL_PROVINCIAL,
    Level.CITY: exchange_pb2.LEVEL_CITY,
}
_DISCLOSURES = {
    Disclosure.DATA: grants_pb2.DISCLOSURE_DATA,
    Disclosure.VERDICT_ONLY: grants_pb2.DISCLOSURE_VERDICT_ONLY,
}


def resource(value: Resource, interfaces: Iterable[Interface]) -> pb.Resource:
    """Describe a resource, given the interfaces mounted on it."""
    message = pb.Resource(
        code=value.code,
        name=value.name,
        provider=value.provider,
        abstract=value.abstract,
        items=(pb.ResourceItem(name=i.name, type=i.type.value, max_chars=i.max_chars) for i in value.items),
        share_type=_SHARE_TYPES[value.share_type],
        share_condition=value.share_condition,
        update_cycle=value.update_cycle,
        classification=value.classification,
        interfaces=sorted({interface.id for interface in interfaces}),
    )
    if value.published is not None:
        message.published_at.FromDatetime(dt.datetime.combine(value.published, dt.time(), dt.UTC))
    return message


def interface(value: Interface, provider: Provider) -> pb.Interface:
    """Describe an interface."""
    return pb.Interface(
        id=value.id,
        version=value.version,
        title=value.title,
        provider=value.provider,
        level=LEVELS[provider.level],
        arguments=(
            pb.Argument(name=name, type=a.type.value, required=a.required, title=a.title, max_chars=a.max_chars)
            for name, a in sorted(value.arguments.items())
        ),
        answer=(
            pb.AnswerField(name=name, type=field.type.value, title=field.title, required=field.required)
            for name, field in sorted(value.answer.items())
        ),
        resource=value.resource,
    )


def allowed(grant: Grant, asked: Interface, described: pb.Interface, consumer: str) -> pb.AllowedInterface:
    """Describe what a grant allows a consumer to ask of an interface."""
    return pb.AllowedInterface(
        interface=described,
        purposes=grant.purposes,
        matters=grant.matters,
        fields=sorted(set(grant.fields) & asked.answer.keys()),
        rate_per_second=grant.rate_per_second,
        burst=grant.burst,
        quota_per_day=grant.quota_per_day,
        valid_until=_timestamp(round(grant.valid_until.timestamp() * 1000)),
        grant=grant.id,
        group="" if grant.consumer == consumer else grant.consumer,
        caller_units=grant.caller_units,
        hours=grant.hours,
        quota_total=grant.quota_total,
        subjects_per_day=grant.subjects_per_day,
        disclosure=_DISCLOSURES[grant.disclosure],
        operator_required=grant.operator_required,
        device_required=grant.device_required,
    )


def mount_report(report: Report, snapshot: Snapshot) -> pb.GetMountReportResponse:
    """Describe the mounts, but for the list of what does not work, which may be long."""
    total = report.total
    return pb.GetMountReportResponse(
        resources=total.resources,
        mounted=total.mounted,
        reachable=total.reachable,
        schema_matching=total.fitting,
        rate=total.rate,
        unmounted_total=len(report.unmounted),
        probed_at=None if report.probed_at_ms is None else _timestamp(report.probed_at_ms),
        providers=(
            pb.ProviderMounts(
                provider=provider,
                name=snapshot.providers[provider].name,
                resources=counts.resources,
                mounted=counts.mounted,
                reachable=counts.reachable,
            )
            for provider, counts in report.providers.items()
        ),
    )


def unmounted(line: Unmounted) -> pb.UnmountedResource:
    """Describe one resource that does not work."""
    return pb.UnmountedResource(
        code=line.resource.code,
        name=line.resource.name,
        provider=line.resource.provider,
        since=_timestamp(line.mount.since_ms),
        reason=line.mount.state.value,
    )


def _timestamp(ms: int) -> Timestamp:
    return Timestamp(seconds=ms // 1000, nanos=ms % 1000 * 1_000_000)
