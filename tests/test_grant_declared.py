"""What the catalogue directory says of grants, and what has been decided about them: who wins, and what is remembered."""

from __future__ import annotations

import datetime as dt

import msgspec
import pytest
from sqlalchemy import create_engine, text

from broker.errors import CatalogueRefused, NotFound
from broker.model.catalogue import Catalogue
from broker.policy.workflow import expire_due
from tests.control_kit import control_url, postgres
from tests.grant_kit import NOW, Plane, grant, small
from tests.support.catalogue import interface, provider

__all__ = ["control_url", "postgres"]  # fixtures

G1, G2 = grant(), grant(id="g2")
NARROWER = grant(fields=["name"])


@pytest.fixture
def plane(control_url: str) -> Plane:
    return Plane(control_url, G1, G2)


def _apply(plane: Plane, *grants: object, actor: str = "operator/chen") -> tuple[str, ...]:
    """Apply a directory that declares these; returns what was withheld."""
    foreseen = plane.control.difference(small(*grants))
    version = plane.control.version()
    now, difference = plane.control.apply(small(*grants), actor)
    assert difference == foreseen
    assert (now > version) == difference.concerns_force
    return difference.withheld


def test_what_the_directory_does_is_remembered(plane: Plane) -> None:
    _apply(plane, NARROWER, G2)
    _apply(plane, NARROWER, G2)
    _apply(plane, G2, actor="operator/zhao")
    _apply(plane, G1, G2)
    told = [(str(step.state), step.actor, step.reason) for step in plane.story("g1").transitions]
    assert told == [
        ("APPROVED", "operator", "declared in the catalogue directory"),
        ("APPROVED", "operator/chen", "terms changed"),
        ("REVOKED", "operator/zhao", "removed from the directory"),
        ("APPROVED", "operator/chen", "declared in the catalogue directory"),
    ]
    assert plane.states("g2") == ["APPROVED"], "it was there all the time"
    assert plane.in_force() == ["g1", "g2"]
    assert plane.story("g1").life.terms == G1


@pytest.mark.parametrize(("verb", "state"), [("pause", "PAUSED"), ("revoke", "REVOKED")])
def test_what_was_decided_stays_however_often_the_directory_is_applied(plane: Plane, verb: str, state: str) -> None:
    plane.act(verb, "g1")
    assert plane.in_force() == ["g2"]
    for grants in ((G1, G2), (G1,), (NARROWER, G2), (G2,), (G1, G2)):
        assert _apply(plane, *grants) == (("g1",) if grants[0].id == "g1" else ())
        assert "g1" not in plane.in_force()
        assert plane.story("g1").life.state == state


def test_a_paused_one_comes_back_as_it_is_declared_by_then(plane: Plane) -> None:
    plane.act("pause", "g1")
    _apply(plane, NARROWER, G2)
    plane.act("approve", "g1")
    assert plane.control.read()[1].grants == (NARROWER, G2)
    assert plane.states("g1") == ["APPROVED", "PAUSED", "PAUSED", "APPROVED"]
    assert _apply(plane, NARROWER, G2) == ()
    _apply(plane, G2)
    assert plane.in_force() == ["g2"], "it belongs to the directory still"


def test_a_paused_one_that_is_no_longer_declared_cannot_be_approved(plane: Plane) -> None:
    plane.act("pause", "g1")
    _apply(plane, G2)
    assert plane.tries("approve", "g1") == "WRONG_STATE"
    assert _apply(plane, G1, G2) == ("g1",), "and it is paused still when it is declared again"
    assert plane.tries("approve", "g1") == ""
    assert plane.in_force() == ["g1", "g2"]


def test_one_that_has_expired_begins_anew_with_a_new_end(plane: Plane) -> None:
    soon = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
    _apply(plane, grant(valid_until=soon), G2)
    assert expire_due(plane.database, soon) == 1
    past = grant(valid_until=NOW - dt.timedelta(days=1))
    assert _apply(plane, past, G2) == ("g1",), "however its end is moved within what has passed"
    assert _apply(plane, G2) == ()
    assert plane.in_force() == ["g2"]
    assert _apply(plane, G1, G2) == ()
    assert plane.in_force() == ["g1", "g2"]
    assert plane.states("g1") == ["APPROVED", "APPROVED", "EXPIRED", "APPROVED"]


def test_requested_grants_are_no_business_of_the_directory(plane: Plane) -> None:
    asked = plane.request().life.id
    plane.act("approve", asked)
    assert _apply(plane, G1) == ()
    assert plane.in_force() == ["g1", asked]
    version, before = plane.control.version(), plane.story(asked)
    for attempt in (plane.control.difference, plane.control.apply):
        with pytest.raises(CatalogueRefused) as refusal:
            attempt(small(grant(id=asked)))
        assert refusal.value.problems == (f"grants ({asked}).id: is that of a requested grant; choose another",)
    assert (plane.control.version(), plane.story(asked)) == (version, before)


def _elsewhere() -> Catalogue:
    """The same interface, of which there is a newer version at another provider."""
    here = small(G1, G2)
    others = (*here.providers, provider("http://127.0.0.1:1", id="city.police"))
    newer = interface(provider="city.police", version=2, resource="R1")
    return msgspec.structs.replace(here, providers=others, interfaces=(newer, *here.interfaces))


def test_grants_go_with_their_interface_to_another_provider(plane: Plane) -> None:
    assert plane.control.apply(_elsewhere())[1].moved == ("g1", "g2")
    assert {plane.story(key).life.provider for key in ("g1", "g2")} == {"city.police"}
    plane.control.apply(small(G1, G2))
    assert {plane.story(key).life.provider for key in ("g1", "g2")} == {"national.police"}


@pytest.mark.parametrize(("field", "value"), [("consumer", "notary"), ("interface", "national.person.other")])
@pytest.mark.parametrize("state", ["APPROVED", "PAUSED", "REVOKED", "EXPIRED", "taken out"])
def test_an_id_stands_for_one_contract(plane: Plane, state: str, field: str, value: str) -> None:
    """Else whose grant it was would see what another does with it."""
    if state == "taken out":
        _apply(plane, G2)
    else:
        for verb in {"PAUSED": ["pause"], "REVOKED": ["revoke"], "EXPIRED": ["expire"]}.get(state, []):
            plane.act(verb, "g1")
    before, version = plane.story("g1"), plane.control.version()
    wanted = small(grant(**{field: value}), G2, interfaces=(interface(resource="R1"), interface(id="national.person.other")))
    for attempt in (plane.control.difference, plane.control.apply):
        with pytest.raises(CatalogueRefused) as refusal:
            attempt(wanted)
        assert refusal.value.problems == (
            f"grants (g1).{field}: is another than it was under this id; give the new grant another id",
        )
    assert (plane.story("g1"), plane.control.version()) == (before, version)


# What the catalogue loses, and why the grants that were requested end.
LOST: dict[str, tuple[Catalogue, str]] = {
    "consumer": (small(consumers=small().consumers[1:]), "its consumer was removed from the catalogue"),
    "interface": (small(interfaces=()), "its interface was removed from the catalogue"),
    "provider": (msgspec.structs.replace(_elsewhere(), grants=()), "its interface is another provider's now"),
}


@pytest.mark.parametrize("lost", LOST)
def test_what_was_requested_ends_when_the_catalogue_loses_what_it_is_about(control_url: str, lost: str) -> None:
    plane = Plane(control_url)
    waiting, approved, paused, rejected = (plane.request().life.id for _ in range(4))
    for verb, asked in (("approve", approved), ("approve", paused), ("pause", paused), ("reject", rejected)):
        plane.act(verb, asked)
    before = plane.control.newest()
    catalogue, reason = LOST[lost]
    foreseen = plane.control.difference(catalogue)
    assert foreseen.ended == (waiting, approved, paused)
    assert not foreseen.empty
    version, difference = plane.control.apply(catalogue, "operator/chen")
    assert (version, difference) == (before.version + 1, foreseen)
    assert ("grants", approved) in plane.control.changes(before).removed
    assert plane.in_force() == []
    for asked in difference.ended:
        story = plane.story(asked)
        assert (story.life.state, story.life.provider) == ("REVOKED", "national.police")
        assert (story.transitions[-1].actor, story.transitions[-1].reason) == ("operator/chen", reason)
    assert plane.states(rejected) == ["REQUESTED", "REJECTED"]
    assert plane.control.difference(catalogue).empty
    plane.control.apply(small())
    assert plane.in_force() == [], "it does not come back with what was lost"


def test_a_grant_of_a_group_ends_with_the_group(control_url: str) -> None:
    plane = Plane(control_url)
    asked = plane.request(consumer="windows").life.id
    assert plane.control.apply(small(groups=()))[1].ended == (asked,)


def test_a_difference_tells_of_grants_that_are_not_in_force(plane: Plane) -> None:
    plane.act("pause", "g1")
    for catalogue in (small(NARROWER, G2), small(G2), small(NARROWER, G2)):
        version, difference = plane.control.apply(catalogue)
        assert (difference.paused, difference.empty, difference.changed) == (("g1",), False, {})
        assert version == plane.control.version()
        assert plane.control.difference(catalogue).empty
    with plane.database.writing() as connection:
        connection.execute(text("UPDATE grant_life SET provider = 'nobody' WHERE id = 'g2'"))
    difference = plane.control.difference(small(NARROWER, G2))
    assert (difference.moved, difference.empty) == (("g2",), False)


def test_an_end_is_kept_in_step_with_the_terms(plane: Plane) -> None:
    far = dt.datetime(9999, 12, 31, 23, 59, 59, tzinfo=dt.timezone(dt.timedelta(hours=8)))
    near = dt.datetime.now(dt.UTC) + dt.timedelta(hours=4)
    here = near.astimezone(dt.timezone(dt.timedelta(hours=8)))
    _apply(plane, grant(valid_until=here), grant(id="g2", valid_until=far))
    plane.now = near - dt.timedelta(seconds=1)
    assert plane.listed(states=["EXPIRED"]) == []
    plane.now = near
    assert (plane.listed(states=["EXPIRED"]), plane.listed(states=["APPROVED"])) == (["g1"], ["g2"])
    _apply(plane, G1, G2)
    assert plane.listed(states=["EXPIRED"]) == []
    assert expire_due(plane.database, near) == 0


def test_grants_declared_before_there_was_a_history_get_one(control_url: str) -> None:
    plane = Plane(control_url, G1, G2)
    with create_engine(control_url).begin() as connection:
        connection.execute(text("DELETE FROM grant_life"))
        connection.execute(text("DELETE FROM grant_transition"))
    with pytest.raises(NotFound):
        plane.act("pause", "g1")
    version = plane.control.version()
    assert plane.control.apply(small(G1, G2)) == (version, plane.control.difference(small(G1, G2))), "nothing is in force anew"
    assert plane.states("g1") == ["APPROVED"]
    plane.act("pause", "g1")
    assert plane.in_force() == ["g2"]


def test_very_many_are_applied(control_url: str) -> None:
    plane = Plane(control_url)
    many = [grant(id=f"g{i:05}") for i in range(5000)]
    assert _apply(plane, *many) == ()
    plane.act("revoke", "g00007")
    assert _apply(plane, *(grant(id=g.id, fields=["name"]) for g in many)) == ("g00007",)
    assert len(plane.in_force()) == 4999
    assert plane.states("g00008") == ["APPROVED", "APPROVED"]
    _apply(plane)
    assert plane.in_force() == []
    assert plane.states("g04999") == ["APPROVED", "APPROVED", "REVOKED"]
