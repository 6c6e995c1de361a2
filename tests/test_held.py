"""Grants in blocks against the same grants laid out one by one."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from broker.policy import held as module
from broker.policy.held import Held, Holdings

HOLDERS = ("alone", "group", "nobody")
VERSIONS = (("a", 1), ("a", 2), ("b", 1))
MEMBERS = {"alone": (3,), "group": (1, 2, 5)}
NUMBERS = {version: number for number, version in enumerate(VERSIONS)}


@pytest.fixture(autouse=True)
def _small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "_MOST_IN_A_BLOCK", 4)


def grants() -> st.SearchStrategy[Held | None]:
    records = st.lists(st.tuples(st.sampled_from(VERSIONS), st.integers(1, 3)), max_size=3)
    made = st.builds(
        lambda holder, parts: Held(holder, tuple(v for v, _ in parts), tuple(bytes([n]) * 8 * n for _, n in parts)),
        st.sampled_from(HOLDERS),
        records,
    )
    return st.none() | made


def one_by_one(
    held: dict[str, Held], members: dict[str, tuple[int, ...]]
) -> Iterator[tuple[bytes, list[tuple[int, int, int]]]]:
    at = 0
    for key in sorted(held):
        for version, record in zip(held[key].versions, held[key].records, strict=True):
            yield record, [(member, NUMBERS[version], at) for member in members.get(held[key].holder, ())]
            at += len(record) // 8


@settings(max_examples=100, deadline=None)
@given(st.lists(st.dictionaries(st.text("abcd", max_size=2), grants(), max_size=9), max_size=8), st.booleans())
def test_changes_come_to_the_same_as_a_fresh_layout(changes: list[dict[str, Held | None]], regrouped: bool) -> None:
    holdings, expected = Holdings(), dict[str, Held]()
    for change in changes:
        holdings.replace(change)
        expected = {key: held for key, held in {**expected, **change}.items() if held}
        members = MEMBERS | {"group": (1, 9)} if regrouped and len(expected) % 2 else MEMBERS
        laid_out = holdings.laid_out(members, NUMBERS)
        plain = list(one_by_one(expected, members))
        assert laid_out.records == b"".join(record for record, _ in plain)
        columns = zip(laid_out.consumers, laid_out.interfaces, laid_out.refs, strict=True)
        assert list(columns) == [row for _, rows in plain for row in rows]
    assert dict(holdings) == expected
    holdings.clear()
    assert holdings.laid_out(MEMBERS, NUMBERS).records == b""
