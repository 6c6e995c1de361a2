"""What is refused of grants, on both databases: what the catalogue has outrun, too much, what is no identifier."""

from __future__ import annotations

import datetime as dt
from typing import Any

import msgspec
import pytest
from sqlalchemy import text

from broker.errors import InvalidRequest, WrongState
from broker.model.catalogue import Grant
from broker.policy import terms
from broker.policy.browse import read
from broker.policy.standing import OPERATOR
from broker.policy.terms import RULES
from tests.control_kit import control_url, postgres
from tests.grant_kit import NOW, TERMS, Plane, grant, resource, small
from tests.support.catalogue import interface

__all__ = ["control_url", "postgres"]  # fixtures


@pytest.fixture
def plane(control_url: str) -> Plane:
    return Plane(control_url)


NARROW = interface(resource="R1", answer={"resident_id": {"type": "resident_id"}, "status": {"type": "text"}})


@pytest.mark.parametrize("paused", [False, True])
@pytest.mark.parametrize(
    ("changes", "text_"),
    [
        ({"interfaces": (NARROW,)}, "terms.fields: `name` is not a field of"),
        ({"resources": (resource(share_type="NOT_SHARED"),)}, "terms.interface: is of a resource that is not shared"),
    ],
    ids=["fields", "share type"],
)
def test_what_could_not_be_requested_any_more_cannot_be_approved(
    plane: Plane, changes: dict[str, Any], text_: str, paused: bool
) -> None:
    asked = plane.request().life.id
    for verb in ("approve", "pause") if paused else ():
        plane.act(verb, asked)
    before = plane.story(asked)
    plane.control.apply(small(**changes))
    with pytest.raises(WrongState, match=f"cannot be approved as things are: {text_}"):
        plane.act("approve", asked)
    assert (plane.story(asked), plane.in_force()) == (before, [])
    plane.control.apply(small())
    plane.act("approve", asked)
    assert plane.in_force() == [asked]


@pytest.mark.parametrize("table", ["consumers", "interfaces"])
def test_what_nothing_is_left_of_cannot_be_approved(plane: Plane, table: str) -> None:
    """Applying a catalogue revokes such requests; one may be older than that rule."""
    asked = plane.request().life.id
    with plane.database.writing() as connection:
        connection.execute(text("DELETE FROM catalogue_entry WHERE kind = :kind"), {"kind": table})
    with pytest.raises(WrongState, match=r"terms\.(consumer|interface): no "):
        plane.act("approve", asked)


def test_a_declared_grant_is_judged_with_its_directory(control_url: str) -> None:
    plane = Plane(control_url, grant(), resources=(resource(share_type="NOT_SHARED"),))
    plane.act("pause", "g1")
    plane.act("approve", "g1")
    assert plane.in_force() == ["g1"]


def test_requests_that_wait_are_not_without_number(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.policy.request.MAX_WAITING", 3)
    soon = NOW + dt.timedelta(hours=1)
    first, *_ = [plane.request(f"a{i}", valid_until=soon).life.id for i in range(3)]
    with pytest.raises(WrongState, match="3 requests that wait for a decision"):
        plane.request()
    assert plane.request("a0", valid_until=soon).life.id == first, "asking again for the same is no other request"
    assert plane.request(consumer="windows", caller="notary"), "it is no other consumer's fault"
    plane.act("approve", first)
    assert plane.request(valid_until=soon)
    plane.now = soon
    assert plane.request(), "nobody has to decide on those any more"


def test_a_history_does_not_grow_for_ever(plane: Plane, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("broker.policy.workflow.MAX_STEPS", 5)
    asked = plane.request().life.id
    for verb in ("approve", "pause", "approve", "pause"):
        plane.act(verb, asked)
    with pytest.raises(WrongState, match="ask for a new grant"):
        plane.act("approve", asked)
    other = plane.request().life.id
    for verb in ("approve", "pause", "approve", "pause", "revoke"):
        plane.act(verb, other)
    assert plane.in_force() == [], "what is in force can always be stopped"


@pytest.mark.parametrize("text_", ["g\0", "\0", "中", "G1", "x" * 97, "a\nb"])
def test_what_cannot_be_an_identifier_is_asked_of_no_database(plane: Plane, text_: str) -> None:
    assert plane.tries("approve", text_) == "NOT_FOUND"
    assert read(plane.database, text_, OPERATOR) is None
    for name in ("consumer", "interface", "after"):
        with pytest.raises(InvalidRequest) as refusal:
            plane.listed(**{name: text_})
        assert [violation.field for violation in refusal.value.violations] == [name]


def test_refused_terms_are_worded_for_people() -> None:
    assert set(RULES) == {field.name for field in msgspec.structs.fields(Grant)} - {"id"}
    wrong = {"hours": ["always"], "purposes": [], "burst": 0, "valid_from": "tomorrow", "disclosure": "ALL", "stale_allowed": 1}
    with pytest.raises(InvalidRequest) as refusal:
        terms.read(TERMS | wrong, "new")
    told = {violation.field: violation.rule for violation in refusal.value.violations}
    assert told == {
        "terms.hours[0]": "must be like mon-fri 08:30-17:30, sat 09:00-12:00 or daily 00:00-24:00",
        "terms.purposes": "must be one or more codes, each 1 to 64 of A-Z a-z 0-9 . _ / - that begin with a letter or digit",
        "terms.burst": "must be a whole number from 1 to 1000000",
        "terms.valid_from": "must be a time with an offset, like 2027-01-01T00:00:00+08:00",
        "terms.disclosure": "must be DATA or VERDICT_ONLY",
        "terms.stale_allowed": "must be true or false",
    }
