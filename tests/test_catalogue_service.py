"""The catalogue at full size, asked over gRPC: 892 resources of 52 departments, their interfaces, and what a caller may ask."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import msgspec
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from broker.client import TokenSource, decode
from broker.demo.catalogue import Addresses, catalogue
from broker.model.catalogue import Catalogue, Disclosure, Group
from broker.v1 import catalogue_pb2 as pb
from broker.v1 import exchange_pb2, grants_pb2
from broker.v1.catalogue_pb2_grpc import CatalogueServiceStub
from tests.support.catalogue import grant
from tests.support.running import RunningBroker

CONSUMER = "notary-office"
NOWHERE = Addresses("http://127.0.0.1:1", "http://127.0.0.1:1", "127.0.0.1:1", "sqlite+aiosqlite:////nowhere/city.db")
BASIC = "national.person.basic"


def _whole(broker: RunningBroker) -> Catalogue:
    return catalogue(NOWHERE, {CONSUMER: broker.public_key})


@pytest.fixture(scope="module")
def whole(broker: RunningBroker) -> Catalogue:
    found = _whole(broker)
    asyncio.run(broker.put(found))
    return found


@pytest.fixture
async def stub(broker: RunningBroker, whole: Catalogue) -> AsyncIterator[Any]:
    async with grpc.aio.insecure_channel(broker.target) as channel:
        yield CatalogueServiceStub(channel)


def _known(broker: RunningBroker) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {TokenSource(CONSUMER, broker.key_file)()}"),)


async def _refused(call: Any) -> Any:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call
    return decode(refusal.value)


async def _all(method: Any, broker: RunningBroker, kind: type, field: str, **wanted: Any) -> list[Any]:
    """Every entry, page by page; each page tells the same number."""
    found: list[Any] = []
    token = ""
    while True:
        answer = await method(kind(page_token=token, **wanted), metadata=_known(broker))
        found += getattr(answer, field)
        token = answer.next_page_token
        if not token:
            assert answer.total_size == len(found)
            return found


@pytest.mark.parametrize("size", [0, 7, 100, 1000])
async def test_pages_cover_892_resources_of_52_departments_once(
    stub: Any, broker: RunningBroker, whole: Catalogue, size: int
) -> None:
    found = await _all(stub.ListResources, broker, pb.ListResourcesRequest, "resources", page_size=size)
    assert [one.code for one in found] == sorted(resource.code for resource in whole.resources)
    assert len(found) == 892
    assert len({one.provider for one in found}) == 52


async def test_a_resource_is_told_whole(stub: Any, broker: RunningBroker, whole: Catalogue) -> None:
    known = {resource.code: resource for resource in whole.resources}
    mounted = {interface.resource: interface.id for interface in whole.interfaces}
    for one in await _all(stub.ListResources, broker, pb.ListResourcesRequest, "resources", page_size=1000):
        resource = known[one.code]
        assert (one.name, one.provider, one.abstract) == (resource.name, resource.provider, resource.abstract)
        assert [(i.name, i.type, i.max_chars) for i in one.items] == [(i.name, i.type, i.max_chars) for i in resource.items]
        assert pb.ShareType.Name(one.share_type) == f"SHARE_TYPE_{resource.share_type}"
        assert (one.share_condition, one.update_cycle, one.classification) == (
            resource.share_condition,
            resource.update_cycle,
            resource.classification,
        )
        assert one.published_at.ToDatetime().date() == resource.published
        assert list(one.interfaces) == ([mounted[one.code]] if one.code in mounted else [])
    answer = await stub.GetResource(pb.GetResourceRequest(code=one.code), metadata=_known(broker))
    assert answer.resource == one


async def test_words_find_resources_by_code_name_abstract_and_provider(
    stub: Any, broker: RunningBroker, whole: Catalogue
) -> None:
    async def codes(query: str) -> set[str]:
        found = await _all(stub.ListResources, broker, pb.ListResourcesRequest, "resources", query=query, page_size=9)
        return {one.code for one in found}

    assert await codes("气象局") == {r.code for r in whole.resources if r.provider == "city.meteorology"}
    assert await codes("CITY.meteorology 年度统计") == {
        r.code for r in whole.resources if r.provider == "city.meteorology" and "年度统计" in r.name
    }
    assert await codes("９９００００/000001") == {"990000/000001"}
    assert await codes("没有这样的资源") == set()


async def test_a_mask_gives_the_wanted_fields_only(stub: Any, broker: RunningBroker) -> None:
    mask = FieldMask(paths=["code", "published_at.seconds"])
    answer = await stub.ListResources(pb.ListResourcesRequest(page_size=5, read_mask=mask), metadata=_known(broker))
    assert {field.name for one in answer.resources for field, _ in one.ListFields()} == {"code", "published_at"}
    one = await stub.GetResource(pb.GetResourceRequest(code="990000/000001", read_mask=mask), metadata=_known(broker))
    assert [field.name for field, _ in one.resource.ListFields()] == ["code", "published_at"]
    everything = await stub.GetResource(
        pb.GetResourceRequest(code="990000/000001", read_mask=FieldMask(paths=["*"])), metadata=_known(broker)
    )
    assert everything.resource.name == "人口基本信息"


async def test_unknown_paths_are_refused_and_named(stub: Any, broker: RunningBroker) -> None:
    wanted = pb.ListResourcesRequest(read_mask=FieldMask(paths=["name", "colour", "items.name", "名称"]))
    failure = await _refused(stub.ListResources(wanted, metadata=_known(broker)))
    assert failure.code.name == "INVALID_ARGUMENT"
    assert set(failure.violations) == {"read_mask.colour", "read_mask.items.name", "read_mask"}
    both = pb.ListInterfacesRequest(read_mask=FieldMask(paths=["*", "id"]))
    assert set((await _refused(stub.ListInterfaces(both, metadata=_known(broker)))).violations) == {"read_mask"}


async def test_no_mask_has_more_than_64_paths(stub: Any, broker: RunningBroker) -> None:
    many = FieldMask(paths=["id", "code"] * 50)
    for call in (
        stub.ListResources(pb.ListResourcesRequest(page_size=1000, read_mask=many), metadata=_known(broker)),
        stub.GetResource(pb.GetResourceRequest(code="990000/000001", read_mask=many), metadata=_known(broker)),
        stub.ListInterfaces(pb.ListInterfacesRequest(read_mask=many), metadata=_known(broker)),
    ):
        assert list((await _refused(call)).violations) == ["read_mask"]
    repeated = pb.ListResourcesRequest(page_size=1000, read_mask=FieldMask(paths=["code"] * 64))
    answer = await stub.ListResources(repeated, metadata=_known(broker))
    assert {field.name for one in answer.resources for field, _ in one.ListFields()} == {"code"}


async def test_a_token_of_another_list_is_refused(stub: Any, broker: RunningBroker) -> None:
    first = await stub.ListResources(pb.ListResourcesRequest(page_size=5), metadata=_known(broker))
    for call in (
        stub.ListResources(pb.ListResourcesRequest(page_token="nonsense"), metadata=_known(broker)),
        stub.ListResources(pb.ListResourcesRequest(page_token=first.next_page_token, query="x"), metadata=_known(broker)),
        stub.ListInterfaces(pb.ListInterfacesRequest(page_token=first.next_page_token), metadata=_known(broker)),
        stub.ListAllowed(pb.ListAllowedRequest(page_token=first.next_page_token), metadata=_known(broker)),
    ):
        assert list((await _refused(call)).violations) == ["page_token"]
    negative = await _refused(stub.ListResources(pb.ListResourcesRequest(page_size=-1), metadata=_known(broker)))
    assert list(negative.violations) == ["page_size"]


async def test_62_interfaces_by_level_and_words(stub: Any, broker: RunningBroker, whole: Catalogue) -> None:
    for level, count in ((0, 62), (exchange_pb2.LEVEL_NATIONAL, 25), (exchange_pb2.LEVEL_PROVINCIAL, 16), (3, 21)):
        found = await _all(stub.ListInterfaces, broker, pb.ListInterfacesRequest, "interfaces", level=level, page_size=10)
        assert len({one.id for one in found}) == len(found) == count
    found = await _all(stub.ListInterfaces, broker, pb.ListInterfacesRequest, "interfaces", query="公安 机动车")
    assert {one.id for one in found} == {"national.vehicle.registration", "national.driver.licence"}
    odd = await _refused(stub.ListInterfaces(pb.ListInterfacesRequest(level=9), metadata=_known(broker)))
    assert list(odd.violations) == ["level"]


async def test_an_interface_is_told_with_its_schema(stub: Any, broker: RunningBroker, whole: Catalogue) -> None:
    known = next(interface for interface in whole.interfaces if interface.id == BASIC)
    one = (await stub.GetInterface(pb.GetInterfaceRequest(id=BASIC), metadata=_known(broker))).interface
    assert (one.id, one.version, one.level) == (BASIC, 1, exchange_pb2.LEVEL_NATIONAL)
    assert [(a.name, a.type, a.required, a.max_chars) for a in one.arguments] == [("resident_id", "resident_id", True, 128)]
    assert {field.name: field.required for field in one.answer} == {name: f.required for name, f in known.answer.items()}
    assert one.resource == known.resource


async def test_what_is_not_there_is_not_found(stub: Any, broker: RunningBroker) -> None:
    for call in (
        stub.GetResource(pb.GetResourceRequest(code="1"), metadata=_known(broker)),
        stub.GetInterface(pb.GetInterfaceRequest(id="x"), metadata=_known(broker)),
        stub.GetInterface(pb.GetInterfaceRequest(id=BASIC, version=9), metadata=_known(broker)),
        stub.GetMountReport(pb.GetMountReportRequest(provider="nobody"), metadata=_known(broker)),
    ):
        failure = await _refused(call)
        assert (failure.code.name, failure.reason, failure.origin) == ("NOT_FOUND", "NOT_FOUND", "CLIENT")


@pytest.mark.parametrize("method", [method.name for method in pb.DESCRIPTOR.services_by_name["CatalogueService"].methods])
async def test_nobody_unknown_is_answered(stub: Any, method: str) -> None:
    request = getattr(pb, f"{method}Request")()
    failure = await _refused(getattr(stub, method)(request))
    assert (failure.code.name, failure.reason) == ("UNAUTHENTICATED", "TOKEN_REFUSED")


async def test_operators_read_it_without_a_token_but_are_allowed_nothing(broker: RunningBroker, whole: Catalogue) -> None:
    async with grpc.aio.insecure_channel(f"unix:{broker.directory}/admin.sock") as channel:
        stub: Any = CatalogueServiceStub(channel)
        assert (await stub.ListResources(pb.ListResourcesRequest())).total_size == 892
        assert (await stub.GetMountReport(pb.GetMountReportRequest())).resources < 892
        assert (await _refused(stub.ListAllowed(pb.ListAllowedRequest()))).code.name == "UNAUTHENTICATED"


async def test_what_is_allowed_is_the_grants_in_force(stub: Any, broker: RunningBroker, whole: Catalogue) -> None:
    mine = {one.id: one for one in whole.grants if one.consumer == CONSUMER}
    found = await _all(stub.ListAllowed, broker, pb.ListAllowedRequest, "allowed", page_size=5)
    assert [one.grant for one in found] == sorted(mine)
    for one in found:
        own = mine[one.grant]
        assert (one.interface.id, list(one.purposes), list(one.fields)) == (
            own.interface,
            list(own.purposes),
            sorted(own.fields),
        )
        assert (one.rate_per_second, one.burst, one.quota_per_day) == (own.rate_per_second, own.burst, 0)
        assert one.valid_until.ToDatetime(dt.UTC) == own.valid_until
        assert one.disclosure == grants_pb2.DISCLOSURE_DATA


async def test_allowed_tells_every_limit_and_leaves_out_what_is_not_now(broker: RunningBroker) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    terms: dict[str, Any] = {"interface": BASIC, "fields": ["name"], "rate_per_second": 5.0, "burst": 7}
    rules: dict[str, Any] = {
        "matters": ["m1"],
        "caller_units": ["u1"],
        "hours": ["mon 08:30-17:30"],
        "quota_per_day": 10,
        "quota_total": 100,
        "subjects_per_day": 5,
        "disclosure": Disclosure.VERDICT_ONLY,
        "operator_required": True,
        "device_required": True,
    }
    grants = (
        grant(id="a.mine", consumer=CONSUMER, **terms, **rules),
        grant(id="b.ours", consumer="notaries", **terms),
        grant(id="c.later", consumer=CONSUMER, valid_from=soon, **terms),
        grant(id="d.over", consumer=CONSUMER, valid_until=soon - dt.timedelta(days=2), **terms),
        grant(id="e.others", consumer="tax-hall", **terms),
    )
    groups = (Group(id="notaries", name="公证机构", members=(CONSUMER, "civil-affairs")),)
    await broker.put(msgspec.structs.replace(_whole(broker), grants=grants, groups=groups))
    async with grpc.aio.insecure_channel(broker.target) as channel:
        answer = await CatalogueServiceStub(channel).ListAllowed(pb.ListAllowedRequest(), metadata=_known(broker))
    mine, ours = answer.allowed
    assert (mine.grant, mine.group, ours.grant, ours.group) == ("a.mine", "", "b.ours", "notaries")
    assert (list(mine.matters), list(mine.caller_units), list(mine.hours)) == (["m1"], ["u1"], ["mon 08:30-17:30"])
    assert (mine.quota_per_day, mine.quota_total, mine.subjects_per_day) == (10, 100, 5)
    assert (mine.disclosure, mine.operator_required, mine.device_required) == (grants_pb2.DISCLOSURE_VERDICT_ONLY, True, True)
    await broker.put(_whole(broker))


async def test_a_page_is_cut_where_a_message_would_be_too_large(tmp_path: Path) -> None:
    own = RunningBroker(tmp_path, BROKER__GRPC__MAX_MESSAGE_BYTES="20000")
    own.start()
    try:
        await own.put(_whole(own))
        async with grpc.aio.insecure_channel(own.target) as channel:
            stub: Any = CatalogueServiceStub(channel)
            first = await stub.ListResources(pb.ListResourcesRequest(page_size=1000), metadata=_known(own))
            assert 1 < len(first.resources) < 100
            assert first.ByteSize() <= 20_000
            found = await _all(stub.ListResources, own, pb.ListResourcesRequest, "resources", page_size=1000)
            report = await stub.GetMountReport(pb.GetMountReportRequest(), metadata=_known(own))
            part = await stub.GetMountReport(pb.GetMountReportRequest(provider="city.meteorology"), metadata=_known(own))
        assert 1 < len(report.unmounted) < report.unmounted_total <= report.resources
        assert report.ByteSize() <= 20_000
        assert len(part.unmounted) == part.unmounted_total > 0
        assert len({one.code for one in found}) == 892
    finally:
        assert own.stop() == 0
