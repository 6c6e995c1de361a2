"""What a consumer with very many grants costs others: its page only is read from the image, and the event loop goes on."""

from __future__ import annotations

import asyncio
import datetime as dt
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from google.protobuf.field_mask_pb2 import FieldMask

from broker.errors import InvalidRequest
from broker.model.call import Times
from broker.model.catalogue import Catalogue, Consumer, Grant, Group
from broker.model.snapshot import Holding, Snapshot
from broker.policy.compiler import compile_snapshot
from broker.services import catalogue_view, masks
from broker.services.catalogue_service import CatalogueService
from broker.services.catalogue_view import Views
from broker.v1 import catalogue_pb2 as pb
from tests.support.catalogue import CONSUMER, INTERFACE, grant, interface, provider

NOW = dt.datetime(2026, 3, 1, 12, tzinfo=dt.UTC)
MANY = 3_000


class Counting(Snapshot, frozen=True, kw_only=True):
    """A snapshot that remembers which grants were read whole."""

    decoded: list[str] = msgspec.field(default_factory=list)

    def grant(self, holding: Holding) -> Grant:
        self.decoded.append(holding.grant)
        return Snapshot.grant(self, holding)


def _counting(*grants: Grant, versions: int = 1) -> Counting:
    made = compile_snapshot(
        Catalogue(
            providers=(provider("http://127.0.0.1:1"),),
            interfaces=tuple(interface(version=number) for number in range(1, versions + 1)),
            consumers=(Consumer(id=CONSUMER, name="某厅"), Consumer(id="other", name="某局")),
            groups=(Group(id="halls", name="大厅", members=(CONSUMER, "other")),),
            grants=grants,
        ),
        1,
    )
    return Counting(**{name: getattr(made, name) for name in made.__struct_fields__})


class Exchange:
    """As much of an exchange as the service asks for; whoever calls is the consumer."""

    def __init__(self, snapshot: Snapshot, at: dt.datetime = NOW) -> None:
        self.snapshot = snapshot
        self.at = at
        self.config = SimpleNamespace(grpc=SimpleNamespace(max_message_bytes=1 << 20))
        self.identifier = self

    def clock(self) -> Times:
        return Times.exactly(round(self.at.timestamp() * 1000))

    def identify(self, _peer: object, snapshot: Snapshot, _times: Times) -> Consumer:
        return snapshot.consumers[CONSUMER]


class Context:
    """A call that shows nothing of itself."""

    def peer(self) -> str:
        return "ipv4:127.0.0.1:1"

    def invocation_metadata(self) -> tuple[()]:
        return ()

    def auth_context(self) -> dict[str, Any]:
        return {}


def _service(exchange: Exchange) -> Any:
    return CatalogueService(exchange, lambda _: pytest.fail("nobody asks"))  # type: ignore[arg-type]


def _grants(count: int) -> tuple[Grant, ...]:
    return tuple(grant(id=f"g.{number:05}", consumer=("halls", CONSUMER)[number % 2]) for number in range(count))


async def test_of_many_grants_those_of_the_page_are_read() -> None:
    snapshot = _counting(*_grants(MANY))
    service = _service(Exchange(snapshot))
    first = await service.ListAllowed(pb.ListAllowedRequest(page_size=10), Context())
    assert (len(first.allowed), first.total_size) == (10, MANY)
    second = await service.ListAllowed(pb.ListAllowedRequest(page_size=10, page_token=first.next_page_token), Context())
    told = [one.grant for one in (*first.allowed, *second.allowed)]
    assert told == snapshot.decoded == [f"g.{number:05}" for number in range(20)]


@pytest.mark.parametrize("wanted", ["ListAllowed", "ListInterfaces"])
async def test_other_calls_have_their_turn_while_a_long_page_is_written(wanted: str) -> None:
    snapshot = _counting(*_grants(MANY), versions=1)
    many = {(f"i.{number:04}", 0): interface(id=f"i.{number:04}") for number in range(1000)}
    shown = msgspec.structs.replace(snapshot, interfaces={**snapshot.interfaces, **many})
    service = _service(Exchange(shown))
    call = getattr(service, wanted)
    request = getattr(pb, f"{wanted}Request")(page_size=1000)
    await call(request, Context())  # what is put together once, is
    turns = 0

    async def others() -> None:
        nonlocal turns
        while True:
            turns += 1
            await asyncio.sleep(0)

    beside = asyncio.create_task(others())
    answer = await call(request, Context())
    beside.cancel()
    assert len(answer.ListFields()[0][1]) > 900
    assert turns >= 20


async def test_grants_are_judged_at_the_moment_of_the_question() -> None:
    day = dt.timedelta(days=1)
    exchange = Exchange(
        _counting(
            grant(id="a", valid_until=NOW + day),
            grant(id="b", valid_from=NOW + day),
            grant(id="c"),
            grant(id="d", valid_until=NOW),
        )
    )
    service = _service(exchange)

    async def told() -> list[str]:
        answer = await service.ListAllowed(pb.ListAllowedRequest(), Context())
        assert answer.total_size == len(answer.allowed)
        return [one.grant for one in answer.allowed]

    assert await told() == ["a", "c"]
    exchange.at += day
    assert await told() == ["b", "c"]
    exchange.snapshot = _counting(grant(id="e"))
    assert await told() == ["e"]


async def test_a_grant_to_an_interface_of_several_versions_is_one() -> None:
    snapshot = _counting(grant(id="a"), grant(id="b", consumer="halls"), versions=3)
    answer = await _service(Exchange(snapshot)).ListAllowed(pb.ListAllowedRequest(), Context())
    assert [(one.grant, one.interface.id, one.interface.version) for one in answer.allowed] == [
        ("a", INTERFACE, 3),
        ("b", INTERFACE, 3),
    ]
    assert [len(holding.refs) for holding in snapshot.held_by(CONSUMER)] == [3, 3]
    assert snapshot.held_by("nobody") == []


async def test_what_is_held_is_kept_up_to_a_bound(monkeypatch: pytest.MonkeyPatch) -> None:
    snapshot = _counting(*_grants(6))
    views = Views(lambda: snapshot)
    shown = await views.now()
    first = await views.held(shown, CONSUMER)
    assert len(first) == 6
    assert await views.held(shown, CONSUMER) is first
    monkeypatch.setattr(catalogue_view, "_MAX_KEPT", 7)
    other = await views.held(shown, "other")  # three more
    assert await views.held(shown, "other") is other
    assert await views.held(shown, CONSUMER) is not first


def test_a_mask_is_read_once_and_not_beyond_64_paths() -> None:
    twice = FieldMask(paths=["published_at.seconds", "code"] * 20 + ["published_at"])
    assert list(masks.checked(twice, pb.Resource).paths) == ["code", "published_at"]
    assert list(masks.checked(FieldMask(paths=["*"]), pb.Resource).paths) == []
    for paths in (["code"] * 65, ["colour"] * 60_000):
        with pytest.raises(InvalidRequest) as refusal:
            masks.checked(FieldMask(paths=paths), pb.Resource)
        assert [violation.field for violation in refusal.value.violations] == ["read_mask"]
