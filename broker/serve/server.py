"""Makes the gRPC servers of a core: the consumers' on TCP or behind the fronts, the operators' on a unix socket.

Which services stand on which, and with which limits. What must not go in here: what a method does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import grpc
from google.protobuf.descriptor import ServiceDescriptor
from grpc_channelz.v1 import channelz, channelz_pb2
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import _async as reflection
from grpc_reflection.v1alpha import reflection_pb2

from broker.config import Config, Grpc
from broker.errors import DirectoryUnusable, PortTaken
from broker.serve.core_address import CORE_SOCKET
from broker.serve.gate import Gate
from broker.serve.listen import addresses
from broker.serve.tls import Tls
from broker.services import registry
from broker.telemetry.rpc import Unknown, counting
from broker.v1 import admin_pb2, audit_pb2, catalogue_pb2, exchange_pb2, grants_pb2

PUBLIC_SERVICES: tuple[ServiceDescriptor, ...] = (
    exchange_pb2.DESCRIPTOR.services_by_name["ExchangeService"],
    catalogue_pb2.DESCRIPTOR.services_by_name["CatalogueService"],
    grants_pb2.DESCRIPTOR.services_by_name["GrantService"],
    audit_pb2.DESCRIPTOR.services_by_name["AuditService"],
)
ADMIN_SERVICES: tuple[ServiceDescriptor, ...] = (admin_pb2.DESCRIPTOR.services_by_name["AdminService"],)
_OPERATORS = (*ADMIN_SERVICES, *PUBLIC_SERVICES[1:])  # who may open the socket may do what consumers may, and more
_CHANNELZ: ServiceDescriptor = channelz_pb2.DESCRIPTOR.services_by_name["Channelz"]
_MAX_SOCKET_PATH = 107  # sun_path of unix(7), less its closing NUL
_RELAYED = 2  # times `front.header_bytes`: a front has measured the consumer's own fields, and adds what it knows of it
_REFLECTION_V1 = "grpc.reflection.v1.ServerReflection"
_REFLECTION_V1ALPHA = "grpc.reflection.v1alpha.ServerReflection"


def public_server(
    config: Config, servicers: Mapping[str, object], gate: Gate, tls: Tls | None, refused: registry.Refused | None = None
) -> tuple[grpc.aio.Server, health.aio.HealthServicer]:
    """Make the consumers' server, listening: on a socket of the fronts', or where there are none, on TCP.

    The gate stands before its methods; health and reflection are told always. `refused` is told of each refusal.

    Raises:
        PortTaken: an address is in use or not allowed.
    """
    server = grpc.aio.server(options=_options(config, config.front.header_bytes * (_RELAYED if config.grpc.fronts else 1)))
    counted = counting(server)
    for service in PUBLIC_SERVICES:
        registry.add(counted, service, gate.guard(servicers.get(service.name, object())), refused)
    names = [service.full_name for service in PUBLIC_SERVICES]
    status = health.aio.HealthServicer()
    health_pb2_grpc.add_HealthServicer_to_server(status, counted)
    if config.grpc.reflection:
        _add_reflection(counted, [*names, health.SERVICE_NAME])
    server.add_generic_rpc_handlers((Unknown(),))
    if config.grpc.fronts:
        _listen_on_socket(server, config.path(CORE_SOCKET), "data_dir")
    else:
        _listen_publicly(server, config.grpc, tls)
    return server, status


def admin_server(config: Config, servicers: Mapping[str, object], refused: registry.Refused | None = None) -> grpc.aio.Server:
    """Make the operators' server, listening on a socket that only the broker's own user may open.

    Raises:
        DirectoryUnusable: the socket's path is too long, cannot be written, or is something else.
    """
    server = grpc.aio.server(options=_options(config, config.front.header_bytes))
    for service in _OPERATORS:
        registry.add(server, service, servicers.get(service.name, object()), refused)
    channelz.add_channelz_servicer(server)
    _add_reflection(server, [service.full_name for service in (*_OPERATORS, _CHANNELZ)])
    _listen_on_socket(server, config.path(config.admin.socket), "admin.socket")
    return server


def service_names() -> list[str]:
    """Names under which health is reported, "" being the whole server."""
    return ["", *(service.full_name for service in PUBLIC_SERVICES)]


def _options(config: Config, header_bytes: int) -> Sequence[tuple[str, Any]]:
    return (
        ("grpc.max_receive_message_length", config.grpc.max_message_bytes),
        ("grpc.max_send_message_length", config.grpc.max_message_bytes),
        ("grpc.max_metadata_size", header_bytes),
        ("grpc.absolute_max_metadata_size", header_bytes),  # between the two, gRPC refuses by chance
        ("grpc.so_reuseport", 0),  # two brokers on one port must be an error, not a coin toss
        ("grpc.http2.min_recv_ping_interval_without_data_ms", config.grpc.keepalive_min_interval_ms),
        ("grpc.keepalive_permit_without_calls", 1),
    )


def _listen_publicly(server: grpc.aio.Server, settings: Grpc, tls: Tls | None) -> None:
    ask_clients = bool(settings.tls.client_ca_file)
    _listen(server, "grpc.address", settings.address, tls.credentials(ask_clients=ask_clients) if tls else None)
    if tls and settings.tls.token_address:
        _listen(server, "grpc.tls.token_address", settings.tls.token_address, tls.credentials(ask_clients=False))


def _listen(server: grpc.aio.Server, setting: str, address: str, credentials: grpc.ServerCredentials | None) -> None:
    """Listen on every address that the host stands for. gRPC alone is content with one of them."""
    try:
        for exact in addresses(address):
            server.add_secure_port(exact, credentials) if credentials else server.add_insecure_port(exact)
    except OSError as error:
        raise PortTaken(f"{setting}: cannot listen on {address} ({error.strerror})") from error
    except RuntimeError as error:
        raise PortTaken(f"{setting}: cannot listen on {address}; is another process using it?") from error


def _listen_on_socket(server: grpc.aio.Server, path: Path, setting: str) -> None:
    """Listen where only the broker's own user may connect."""
    _clear_socket_path(path, setting)
    mask = os.umask(0o177)
    try:
        server.add_insecure_port(f"unix:{path}")
    except RuntimeError as error:
        raise DirectoryUnusable(f"{setting}: {path} cannot be made") from error
    finally:
        os.umask(mask)


def _clear_socket_path(path: Path, setting: str) -> None:
    """Remove the socket of the last core, and nothing but a socket."""
    if len(os.fsencode(path)) > _MAX_SOCKET_PATH:
        raise DirectoryUnusable(f"{setting}: {path} is longer than {_MAX_SOCKET_PATH} bytes; set a shorter one")
    try:
        if path.exists() and not path.is_socket():
            raise DirectoryUnusable(f"{setting}: {path} is there and is not a socket")
        path.unlink(missing_ok=True)
    except OSError as error:
        raise DirectoryUnusable(f"{setting}: {path} cannot be made ({error.strerror})") from error


def _add_reflection(server: grpc.aio.Server, names: list[str]) -> None:
    """Serve reflection under both of its names; their messages are the same on the wire (grpc/grpc#38576)."""
    servicer = reflection.ReflectionServicer([*names, _REFLECTION_V1ALPHA])
    method = grpc.stream_stream_rpc_method_handler(
        servicer.ServerReflectionInfo,
        request_deserializer=reflection_pb2.ServerReflectionRequest.FromString,
        response_serializer=reflection_pb2.ServerReflectionResponse.SerializeToString,
    )
    for name in (_REFLECTION_V1, _REFLECTION_V1ALPHA):
        server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(name, {"ServerReflectionInfo": method}),))
