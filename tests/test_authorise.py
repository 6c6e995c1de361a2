"""Who may ask what: each condition of a grant alone, and the alikeness of unknown and not granted."""

from __future__ import annotations

import datetime as dt

import pytest

from broker.errors import NotGranted
from broker.model.call import Authority, Request, Times
from broker.model.catalogue import Catalogue, Grant, Interface
from broker.model.snapshot import mask_of
from broker.policy.authorise import authorise, resolve
from broker.policy.compiler import compile_snapshot
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, consumer, grant, interface, provider

KEY = "A" * 43 + "="
START = dt.datetime(2020, 1, 1, tzinfo=dt.UTC)
END = dt.datetime(2021, 1, 1, tzinfo=dt.UTC)
START_MS, END_MS = int(START.timestamp() * 1000), int(END.timestamp() * 1000)


def _decide(
    *grants: Grant, at_ms: int = START_MS, who: str = CONSUMER, interfaces: tuple[Interface, ...] = (), **asked: str
) -> Authority:
    catalogue = Catalogue(
        providers=(provider("http://x"),), interfaces=interfaces or (interface(),), consumers=(consumer(KEY),), grants=grants
    )
    snapshot = compile_snapshot(catalogue, 1)
    request = Request(**({"interface": INTERFACE, "arguments": {}, "purpose": PURPOSE} | asked))  # type: ignore[arg-type]
    resolve(snapshot, request)
    return authorise(snapshot, consumer(KEY, id=who), request, Times.exactly(at_ms))


def test_a_grant_that_covers_everything_is_found() -> None:
    assert _decide(grant()).grant == "g1"


@pytest.mark.parametrize(
    ("granted", "asked"),
    [
        ({}, {"purpose": "other"}),
        ({}, {"interface": "national.person.unknown"}),
        ({"matters": ["M1"]}, {}),
        ({"matters": ["M1"]}, {"matter": "M2"}),
        ({"consumer": "notary"}, {}),
    ],
)
def test_anything_else_is_refused_alike(granted: dict, asked: dict) -> None:
    with pytest.raises(NotGranted) as refusal:
        _decide(grant(**granted), **asked)
    assert str(refusal.value) == "no grant covers this interface for this purpose"


@pytest.mark.parametrize(("at_ms", "good"), [(START_MS - 1, False), (START_MS, True), (END_MS - 1, True), (END_MS, False)])
def test_validity_is_half_open(at_ms: int, good: bool) -> None:
    bounded = grant(valid_from=START, valid_until=END)
    if good:
        assert _decide(bounded, at_ms=at_ms).grant == bounded.id
    else:
        with pytest.raises(NotGranted):
            _decide(bounded, at_ms=at_ms)


def test_the_first_grant_by_id_that_covers_is_taken() -> None:
    grants = (grant(id="g3"), grant(id="g2", matters=["M1"]), grant(id="g1", purposes=["other"]))
    assert _decide(*grants).grant == "g3"
    assert _decide(*grants, matter="M1").grant == "g2"


def test_the_mask_holds_what_this_version_answers() -> None:
    newer = interface(version=2, answer={"resident_id": {"type": "resident_id"}, "name": {"type": "person_name"}})
    catalogue = Catalogue(providers=(provider("http://x"),), interfaces=(interface(), newer), consumers=(), grants=(grant(),))
    snapshot = compile_snapshot(catalogue, 1)
    older, newest = map(snapshot.authority, snapshot.image.terms())
    assert older.fields == ("birth_date", "name", "status")
    assert newest.fields == ("name",)
    assert newest.mask == mask_of(("name",))


def test_no_version_means_the_newest_and_a_stated_one_that_one() -> None:
    newer = interface(version=2)
    snapshot = compile_snapshot(Catalogue(providers=(provider("http://x"),), interfaces=(newer, interface())), 1)
    for asked, found in ((0, 2), (1, 1), (2, 2)):
        assert resolve(snapshot, Request(interface=INTERFACE, arguments={}, purpose="p", version=asked)).version == found
    with pytest.raises(NotGranted):
        resolve(snapshot, Request(interface=INTERFACE, arguments={}, purpose="p", version=3))
