"""Tells whether something listens where a provider should, without asking it anything: no quota of the provider's is used.

What must not go in here: questions (providers.py), and judging what it means that nobody listens.
"""

from __future__ import annotations

import asyncio
import re
import urllib.parse
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sqlalchemy.engine import make_url

from broker.model.catalogue import Endpoint, GrpcEndpoint, HttpEndpoint, SqlEndpoint

_HTTP_PORTS = {"http": 80, "https": 443}
_GRPC_PORT = 443  # gRPC's own default
_POSTGRESQL_PORT = 5432
_GRPC_SCHEME = re.compile(r"(?:dns|ipv4|ipv6):(?://[^/]*/)?")


class Place(NamedTuple):
    """Where something may listen: a host and port, or a path of this machine."""

    host: str = ""
    port: int = 0
    path: str = ""
    socket: bool = True  # else a file that is read


async def reachable(endpoint: Endpoint, timeout_s: float) -> bool:
    """Connect and hang up; for a database that is a file, see whether it is there."""
    try:
        place = place_of(endpoint)
        if not place.socket:
            return await asyncio.to_thread(Path(place.path).is_file)
        async with asyncio.timeout(timeout_s):
            _, writer = await _connect(place)
    except (OSError, TimeoutError, ValueError):  # ValueError: a host name or port that cannot be one
        return False
    writer.transport.abort()
    return True


async def _connect(place: Place) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    if place.path:
        return await asyncio.open_unix_connection(place.path)
    return await asyncio.open_connection(place.host, place.port)


def place_of(endpoint: Endpoint) -> Place:
    """Return where an endpoint is. Pure."""
    return _PLACES[type(endpoint)](endpoint)


def _http_place(endpoint: HttpEndpoint) -> Place:
    url = urllib.parse.urlsplit(endpoint.base_url)
    return Place(url.hostname or "", url.port or _HTTP_PORTS[url.scheme])


def _grpc_place(endpoint: GrpcEndpoint) -> Place:
    if endpoint.target.startswith("unix:"):
        return Place(path=endpoint.target.removeprefix("unix:").removeprefix("//"))
    address = urllib.parse.urlsplit(f"//{_GRPC_SCHEME.sub('', endpoint.target, count=1)}")
    return Place(address.hostname or "", address.port or _GRPC_PORT)


def _sql_place(endpoint: SqlEndpoint) -> Place:
    url = make_url(endpoint.url)
    if url.get_backend_name() == "sqlite":
        return Place(path=url.database or "", socket=False)
    host, port = url.host or str(url.query.get("host", "")), url.port or _POSTGRESQL_PORT
    return Place(path=f"{host}/.s.PGSQL.{port}") if host.startswith("/") else Place(host or "localhost", port)


_PLACES: Mapping[type, Callable[[Any], Place]] = {
    HttpEndpoint: _http_place,
    GrpcEndpoint: _grpc_place,
    SqlEndpoint: _sql_place,
}
