"""What any gRPC tool finds on a broker: health, reflection, every method of the contract, channelz for operators."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import grpc
import pytest
from google.protobuf import message_factory
from google.protobuf.duration_pb2 import Duration
from grpc_channelz.v1 import channelz_pb2, channelz_pb2_grpc
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2

from broker.client import CallFailed, decode
from broker.serve.server import ADMIN_SERVICES, PUBLIC_SERVICES, service_names
from broker.v1 import admin_pb2, audit_pb2, catalogue_pb2
from broker.v1.admin_pb2_grpc import AdminServiceStub
from tests.support.catalogue import INTERFACE, PURPOSE, catalogue
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually, wait_until

NOW = {
    *(f"broker.v1.ExchangeService.{name}" for name in ("Call", "Match", "BatchMatch", "StreamMatches", "Search")),
    *(method.full_name for method in catalogue_pb2.DESCRIPTOR.services_by_name["CatalogueService"].methods),
    *(f"broker.v1.GrantService.{name}Grant" for name in ("Request", "Approve", "Reject", "Pause", "Revoke", "Get")),
    "broker.v1.GrantService.ListGrants",
    *(method.full_name for method in audit_pb2.DESCRIPTOR.services_by_name["AuditService"].methods),
    *(f"broker.v1.AdminService.{name}" for name in ("Purge", "Drain", "Reload", "GetStatus")),
}
METHODS = [method for service in (*PUBLIC_SERVICES, *ADMIN_SERVICES) for method in service.methods]


@pytest.fixture
async def public(broker: RunningBroker) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(broker.target) as channel:
        yield channel


@pytest.fixture
async def admin(broker: RunningBroker) -> AsyncIterator[grpc.aio.Channel]:
    async with grpc.aio.insecure_channel(f"unix:{broker.directory}/admin.sock") as channel:
        yield channel


@pytest.mark.parametrize("name", service_names())
async def test_health_is_told_per_service(public: grpc.aio.Channel, name: str) -> None:
    stub = health_pb2_grpc.HealthStub(public)
    answer = await stub.Check(health_pb2.HealthCheckRequest(service=name))
    assert answer.status == health_pb2.HealthCheckResponse.SERVING


@pytest.mark.parametrize("version", ["v1", "v1alpha"])
async def test_reflection_lists_and_describes_the_contract(public: grpc.aio.Channel, version: str) -> None:
    ask = public.stream_stream(
        f"/grpc.reflection.{version}.ServerReflection/ServerReflectionInfo",
        request_serializer=reflection_pb2.ServerReflectionRequest.SerializeToString,
        response_deserializer=reflection_pb2.ServerReflectionResponse.FromString,
    )
    requests = [
        reflection_pb2.ServerReflectionRequest(list_services=""),
        reflection_pb2.ServerReflectionRequest(file_containing_symbol="broker.v1.ExchangeService"),
    ]
    listed, described = [response async for response in ask(iter(requests))]
    names = {service.name for service in listed.list_services_response.service}
    assert names >= {service.full_name for service in PUBLIC_SERVICES}
    assert "broker.v1.AdminService" not in names
    assert described.file_descriptor_response.file_descriptor_proto


@pytest.mark.parametrize("method", [m for m in METHODS if m.full_name not in NOW], ids=lambda m: m.full_name)
async def test_what_comes_later_says_so(public: grpc.aio.Channel, admin: grpc.aio.Channel, method: Any) -> None:
    channel = admin if method.containing_service in ADMIN_SERVICES else public
    path = f"/{method.containing_service.full_name}/{method.name}"
    request = message_factory.GetMessageClass(method.input_type)().SerializeToString()
    asks, answers = ("stream" if flag else "unary" for flag in (method.client_streaming, method.server_streaming))
    call = getattr(channel, f"{asks}_{answers}")(path)(_silence() if method.client_streaming else request)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await call.read() if method.server_streaming else await call
    failure = decode(refusal.value)
    assert (failure.code.name, failure.reason, failure.origin) == ("UNIMPLEMENTED", "METHOD_NOT_AVAILABLE", "BROKER")
    assert failure.metadata["method"] == method.full_name


async def _silence() -> AsyncIterator[bytes]:
    """A stream on which nothing is sent: gRPC's client fails of itself when it writes to a call that has just ended."""
    await asyncio.Event().wait()
    yield b""


async def test_operators_methods_are_not_on_the_public_port(public: grpc.aio.Channel) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await public.unary_unary("/broker.v1.AdminService/Purge")(b"")
    assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED


async def test_the_admin_socket_is_the_owners_only(broker: RunningBroker) -> None:
    assert (broker.directory / "admin.sock").stat().st_mode & 0o077 == 0


async def test_channelz_shows_the_servers(admin: grpc.aio.Channel) -> None:
    stub = channelz_pb2_grpc.ChannelzStub(admin)
    assert len((await stub.GetServers(channelz_pb2.GetServersRequest())).server) == 2


async def test_status_and_reload(admin: grpc.aio.Channel) -> None:
    stub: Any = AdminServiceStub(admin)
    status = await stub.GetStatus(admin_pb2.GetStatusRequest())
    assert status.version
    assert not status.draining
    assert (await stub.Reload(admin_pb2.ReloadRequest())).snapshot_version == status.snapshot_version


@pytest.mark.parametrize("request_", [admin_pb2.PurgeRequest(), admin_pb2.PurgeRequest(all=False)])
async def test_a_purge_without_a_target_is_refused(admin: grpc.aio.Channel, request_: admin_pb2.PurgeRequest) -> None:
    stub: Any = AdminServiceStub(admin)
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await stub.Purge(request_)
    assert decode(refusal.value).violations == {"target": "is required"}


async def test_an_unknown_method_is_unimplemented_and_counted_as_other(broker: RunningBroker, public: grpc.aio.Channel) -> None:
    for path in ("/broker.v1.ExchangeService/call", "/broker.v1.ExchangeService//Call", "/x/y"):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await public.unary_unary(path)(b"")
        assert refusal.value.code() is grpc.StatusCode.UNIMPLEMENTED
    counted = 'grpc_server_handled_total{grpc_code="UNIMPLEMENTED",grpc_method="other",grpc_service="other",grpc_type="unary"}'
    assert counted in broker.metrics()


async def test_an_undecodable_message_is_an_invalid_request(broker: RunningBroker, public: grpc.aio.Channel) -> None:
    for body in (b"\xff", b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x02\xff\xfe", b"\x00", b"\x0b"):
        with pytest.raises(grpc.aio.AioRpcError) as refusal:
            await public.unary_unary("/broker.v1.ExchangeService/Call")(body)
        failure = decode(refusal.value)
        assert (failure.code.name, failure.origin) == ("INVALID_ARGUMENT", "CLIENT")
        assert failure.violations == {"message": "is not a broker.v1.CallRequest"}
    assert 'grpc_code="INVALID_ARGUMENT",grpc_method="Call"' in broker.metrics()
    assert "Traceback" not in broker.log_file.read_text()


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """A broker, not yet started, that only this test drains."""
    running = RunningBroker(tmp_path_factory.mktemp("d"))
    yield running
    running.kill()


async def test_draining_leaves_the_balancers_lists_and_then_refuses(own: RunningBroker) -> None:
    own.environment["BROKER__GRPC__DRAIN_MS"] = "2000"
    own.start()
    async with (
        grpc.aio.insecure_channel(f"unix:{own.directory}/admin.sock") as admin,
        grpc.aio.insecure_channel(own.target) as public,
    ):
        stub: Any = AdminServiceStub(admin)
        drained = asyncio.ensure_future(stub.Drain(admin_pb2.DrainRequest()))
        await eventually(lambda: _tells_not_serving(public))
        assert (await _refusal(public)).reason == "INVALID_REQUEST", "whom the news has not reached is served on"
        assert (await stub.GetStatus(admin_pb2.GetStatusRequest())).draining
        assert (await drained).in_progress == 0
        refusal = await _refusal(public)
        assert (refusal.code.name, refusal.reason, refusal.origin) == ("UNAVAILABLE", "DRAINING", "BROKER")
        assert refusal.retry_after_s
        assert await _tells_not_serving(public)
    assert own.stop() == 0


async def test_a_drain_tells_how_many_calls_it_did_not_wait_for(own: RunningBroker, register: Register) -> None:
    own.start()
    register.delay_s = 1.0
    await own.put(catalogue(register.base_url, own.public_key))
    async with own.client() as client, grpc.aio.insecure_channel(f"unix:{own.directory}/admin.sock") as admin:
        stub: Any = AdminServiceStub(admin)
        call = asyncio.create_task(client.call(INTERFACE, {"resident_id": resident_id(1)}, purpose=PURPOSE))
        await asyncio.to_thread(wait_until, lambda: register.calls)
        assert (await stub.Drain(admin_pb2.DrainRequest(timeout=Duration()))).in_progress == 1
        assert not (await call).found
        await eventually(lambda: _is_empty(stub))
    assert own.stop() == 0


async def _is_empty(stub: Any) -> bool:
    return (await stub.GetStatus(admin_pb2.GetStatusRequest())).in_progress == 0


async def _tells_not_serving(public: grpc.aio.Channel) -> bool:
    answer = await health_pb2_grpc.HealthStub(public).Check(health_pb2.HealthCheckRequest())
    return bool(answer.status == health_pb2.HealthCheckResponse.NOT_SERVING)


async def _refusal(public: grpc.aio.Channel) -> CallFailed:
    with pytest.raises(grpc.aio.AioRpcError) as refusal:
        await public.unary_unary("/broker.v1.ExchangeService/Call")(b"\x0a\x01x")
    return decode(refusal.value)
