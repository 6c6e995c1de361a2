"""What an answer in the cache belongs to: everything that answers depend on, and nothing else."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from broker.model.snapshot import definition_of
from tests.support.calling import NOBODY
from tests.support.catalogue import interface, provider

HERE = "http://127.0.0.1:1"
TITLED = {"type": "resident_id", "title": "某人"}


@pytest.mark.parametrize(
    "changes",
    [
        {"title": "人口信息"},
        {"probe": {"resident_id": NOBODY}},
        {"resource": "990000/000001"},
        {"timeout_ms": 2001},
        {"arguments": {"resident_id": TITLED}},
        {"answer": msgspec.to_builtins(interface().answer) | {"resident_id": TITLED}},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_no_answer_depends_on_keeps_the_cache(changes: dict[str, Any]) -> None:
    assert definition_of(interface(**changes), provider(HERE)) == definition_of(interface(), provider(HERE))


@pytest.mark.parametrize("changes", [{"name": "公安局"}, {"approvers": ["city-hall"]}])
def test_a_provider_of_another_name_answers_the_same(changes: dict[str, Any]) -> None:
    assert definition_of(interface(), provider(HERE, **changes)) == definition_of(interface(), provider(HERE))


@pytest.mark.parametrize(
    "changed",
    [
        interface(id="national.person.more"),
        interface(version=2),
        interface(side_effect=True, freshness={}),
        interface(freshness={"cacheable": True, "ttl_s": 599}),
        interface(answer=msgspec.to_builtins(interface().answer) | {"address": {"type": "address"}}),
        interface(arguments={"resident_id": {"type": "text"}}),
        interface(operation=msgspec.to_builtins(interface().operation) | {"path": "/other"}),
        interface(subject={"argument": "resident_id"}),
    ],
)
def test_what_answers_depend_on_makes_another_definition(changed: Any) -> None:
    assert definition_of(changed, provider(HERE)) != definition_of(interface(), provider(HERE))


@pytest.mark.parametrize("changes", [{"id": "city.police"}, {"level": "CITY"}, {"endpoint": None}])
def test_another_provider_is_another_source(changes: dict[str, Any]) -> None:
    assert definition_of(interface(), provider(HERE, **changes)) != definition_of(interface(), provider(HERE))
