"""Canaries: every field that a consumer was not granted holds a marker, and no byte that leaves for it ever holds one.

Everything between broker and consumer goes through a wire tap; logs, metrics and files of the broker are searched as well.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
from aiohttp import web
from msgspec.structs import replace

from broker.client import AsyncClient, CallFailed, TokenSource, generate_key
from broker.v1 import exchange_pb2 as pb
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, catalogue, consumer, grant, interface
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker

PEOPLE = [resident_id(number) for number in range(20, 26)]
WIDE = "auditor"  # a consumer that was granted everything; what it is answered does not count


class WireTap:
    """A proxy in front of the broker that keeps every byte which goes to the consumer."""

    def __init__(self, target: str) -> None:
        self._host, _, port = target.rpartition(":")
        self._port = int(port)
        self.heard = bytearray()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(self._host, self._port)
        with contextlib.suppress(ConnectionError):
            await asyncio.gather(_pass_on(reader, back, bytearray()), _pass_on(there, writer, self.heard))

    @contextlib.asynccontextmanager
    async def listening(self) -> AsyncIterator[str]:
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        async with server:
            yield f"127.0.0.1:{server.sockets[0].getsockname()[1]}"


async def _pass_on(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, heard: bytearray) -> None:
    while data := await reader.read(65536):
        heard += data
        writer.write(data)
        await writer.drain()
    writer.close()


@pytest.fixture
def own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """Whose breaker does not open here: however the provider behaves, it is to be asked."""
    never = {"BROKER__UPSTREAM__BREAKER_WINDOW_CALLS": "200", "BROKER__UPSTREAM__BREAKER_MIN_CALLS": "200"}
    running = RunningBroker(tmp_path_factory.mktemp("y"), **never)
    running.start()
    yield running
    running.kill()


class Canaries:
    """Markers, one for each field of each person, and where they must not be seen."""

    def __init__(self) -> None:
        self.markers: dict[tuple[str, str], str] = {}

    def draw(self, who: str, field: str) -> str:
        return self.markers.setdefault((who, field), f"canary{secrets.token_hex(8)}")

    def seen_in(self, data: bytes) -> set[str]:
        return {field for (_, field), marker in self.markers.items() if marker.encode() in data}


def _fill(register: Register, canaries: Canaries) -> None:
    for who in PEOPLE:
        extra = {"BZ": canaries.draw(who, "unknown to the schema")}
        register.add(who, canaries.draw(who, "name"), ZT="正常" + canaries.draw(who, "status"), **extra)


def _terms(own: RunningBroker, register: Register, wide_key: str, fields: list[str]) -> Any:
    freshness = {"cacheable": True, "ttl_s": 600, "negative_ttl_s": 60, "stale_if_error_s": 600}
    whole = catalogue(
        register.base_url,
        own.public_key,
        interfaces=(interface(freshness=freshness),),
        grants=(grant(fields=fields), grant(id="wide", consumer=WIDE)),
    )
    return replace(whole, consumers=(*whole.consumers, consumer(wide_key, id=WIDE)))


async def _ask_in_every_way(client: AsyncClient) -> list[str]:
    """Ask about everybody, in both encodings, cached and not; returns the reasons of the failures."""
    failures = []
    for who in PEOPLE:
        for encoding in (pb.ENCODING_JSON, pb.ENCODING_MSGPACK):
            for max_age_s in (None, 0.0):
                try:
                    request = pb.CallRequest(
                        interface=INTERFACE, arguments={"resident_id": who}, purpose=PURPOSE, encoding=encoding
                    )
                    if max_age_s is not None:
                        request.max_age.FromSeconds(0)
                    await client.exchange.Call(request)
                except Exception as error:
                    failures.append(CallFailed(error).reason)
    return failures


async def _ill_formed(register: Register, who: str) -> web.Response:
    """An answer whose every field breaks the schema, markers and all."""
    record = register.people[who]
    return web.json_response({"code": "0", "data": {**record, "CSRQ": record["XM"], "GMSFHM": record["XM"]}})


async def _refusing(register: Register, who: str) -> web.Response:
    return web.json_response({"code": register.people[who]["XM"], "message": register.people[who]["ZT"]}, status=200)


async def _broken(register: Register, who: str) -> web.Response:
    return web.Response(status=500, text=str(register.people[who]))


async def test_no_byte_of_an_ungranted_field_leaves(own: RunningBroker, register: Register) -> None:
    canaries, tap = Canaries(), WireTap(own.target)
    _fill(register, canaries)
    wide_file = own.directory / "wide.key"
    wide_key = generate_key(wide_file)
    await own.put(_terms(own, register, wide_key, ["birth_date"]))
    async with tap.listening() as tapped, own.client(WIDE, wide_file) as wide:
        assert not await _ask_in_every_way(wide), "what is cached by now was granted to somebody else"
        async with AsyncClient(tapped, TokenSource(CONSUMER, own.key_file)) as narrow:
            assert not await _ask_in_every_way(narrow)
            for behaviour in (_ill_formed, _refusing, _broken):
                register.behaviour = behaviour
                assert await _ask_in_every_way(narrow)
            register.behaviour = None
            assert canaries.seen_in(bytes(tap.heard)) == set()
            await own.put(_terms(own, register, wide_key, ["birth_date", "name"]))
            assert not await _ask_in_every_way(narrow)
            seen_while_granted = canaries.seen_in(bytes(tap.heard))
            await own.put(_terms(own, register, wide_key, ["birth_date"]))
            heard_before = len(tap.heard)
            assert not await _ask_in_every_way(narrow)
    assert seen_while_granted == {"name"}, "the tap hears what is granted, so it would hear the rest"
    assert canaries.seen_in(bytes(tap.heard[heard_before:])) == set()
    assert canaries.seen_in(own.log_file.read_bytes()) == set()
    assert canaries.seen_in(own.metrics().encode()) == set()
    for file in ("policy.snapshot", "counters", "control.db"):
        assert canaries.seen_in((own.directory / "data" / file).read_bytes()) == set()
    cached = b"".join(file.read_bytes() for file in (own.directory / "data" / "cache").iterdir())
    assert canaries.seen_in(cached) == {"name", "status"}, "what was granted to others, and nothing beyond the schema"
