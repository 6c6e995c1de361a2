"""The life of a grant on SQLite and PostgreSQL: every pair of state and verb, the history, and what it puts in force."""

from __future__ import annotations

import datetime as dt
import itertools
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest
from sqlalchemy import create_engine, insert, text

from broker.errors import InvalidRequest, NotFound, WrongState
from broker.policy import lives
from broker.policy.lives import State
from broker.policy.tables import mount_state
from broker.policy.workflow import EXPIRES, FOLLOWS, Verb, expire_due, follow
from tests.control_kit import control_url, postgres
from tests.grant_kit import NOW, Plane, grant, resource
from tests.support.catalogue import interface

__all__ = ["control_url", "postgres"]  # fixtures

# What is left when everything that may not follow is taken away, told once more and by hand.
ALLOWED = {
    (None, "request"): "REQUESTED",
    ("REQUESTED", "approve"): "APPROVED",
    ("REQUESTED", "reject"): "REJECTED",
    ("REQUESTED", "revoke"): "REVOKED",
    ("REQUESTED", "expire"): "EXPIRED",
    ("APPROVED", "pause"): "PAUSED",
    ("APPROVED", "revoke"): "REVOKED",
    ("APPROVED", "expire"): "EXPIRED",
    ("PAUSED", "approve"): "APPROVED",
    ("PAUSED", "revoke"): "REVOKED",
    ("PAUSED", "expire"): "EXPIRED",
}
WAYS = {  # to each state, from a request
    "REQUESTED": [],
    "APPROVED": ["approve"],
    "REJECTED": ["reject"],
    "PAUSED": ["approve", "pause"],
    "REVOKED": ["approve", "revoke"],
    "EXPIRED": ["approve", "expire"],
}


@pytest.fixture
def plane(control_url: str) -> Plane:
    return Plane(control_url)


@pytest.mark.parametrize(("state", "verb"), list(itertools.product((None, *State), Verb)))
def test_the_table_of_states(state: State | None, verb: Verb) -> None:
    expected = ALLOWED.get((state, verb))
    assert FOLLOWS.get((state, verb)) == expected
    if expected:
        assert follow(state, verb) == expected
    else:
        with pytest.raises(WrongState, match=f"{state}: {verb} cannot follow"):
            follow(state, verb)


@pytest.mark.parametrize("state", WAYS)
def test_every_verb_in_every_state(plane: Plane, state: str) -> None:
    for verb in ("approve", "reject", "pause", "revoke", "expire"):
        asked = plane.request().life.id
        for step in WAYS[state]:
            plane.act(step, asked)
        before, force = plane.story(asked), plane.in_force()
        assert before.life.state == state
        assert (asked in force) == (state == "APPROVED")
        version = plane.control.version()
        after = ALLOWED.get((state, verb))
        assert plane.tries(verb, asked) == ("" if after else "WRONG_STATE")
        if after is None:
            assert plane.story(asked) == before
            assert (plane.in_force(), plane.control.version()) == (force, version)
        else:
            assert plane.states(asked)[-1] == plane.story(asked).life.state == after
            assert (asked in plane.in_force()) == (after == "APPROVED")
            assert (plane.control.version() > version) == ("APPROVED" in (state, after))


def test_the_history_tells_who_when_and_why(plane: Plane) -> None:
    asked = plane.request().life.id
    steps = [("approve", ""), ("pause", "疑似滥用"), ("approve", "已澄清"), ("revoke", "职能调整")]
    for hours, (verb, reason) in enumerate(steps, 1):
        plane.now = NOW + dt.timedelta(hours=hours, microseconds=hours)
        plane.act(verb, asked, reason)
    told = [(str(step.state), step.at, step.actor, step.reason) for step in plane.story(asked).transitions]
    assert told == [
        ("REQUESTED", NOW, "tax-hall/li", "《条例》第六条"),
        ("APPROVED", NOW + dt.timedelta(hours=1, microseconds=1), "notary/wang", ""),
        ("PAUSED", NOW + dt.timedelta(hours=2, microseconds=2), "notary/wang", "疑似滥用"),
        ("APPROVED", NOW + dt.timedelta(hours=3, microseconds=3), "notary/wang", "已澄清"),
        ("REVOKED", NOW + dt.timedelta(hours=4, microseconds=4), "notary/wang", "职能调整"),
    ]


def test_what_is_approved_is_what_was_asked_for(plane: Plane) -> None:
    asked = plane.request(matters=["M1"], hours=["mon-fri 08:30-17:30"], quota_per_day=7).life
    plane.act("approve", asked.id)
    (held,) = plane.control.read()[1].grants
    assert held == asked.terms
    assert (held.id, held.matters, held.quota_per_day) == (asked.id, ("M1",), 7)


def test_others_learn_of_it_by_what_has_changed(plane: Plane) -> None:
    asked = plane.request().life.id
    before = plane.control.newest()
    plane.act("approve", asked)
    assert list(plane.control.changes(before).written) == [("grants", asked)]
    approved = plane.control.newest()
    plane.act("pause", asked)
    assert plane.control.changes(approved).removed == (("grants", asked),)
    plane.act("approve", asked)
    again = plane.control.changes(approved)
    assert (list(again.written), again.removed) == ([("grants", asked)], ())


def test_two_that_decide_at_once_decide_once(control_url: str) -> None:
    planes = [Plane(control_url), Plane(control_url)]
    for _ in range(5):
        asked = planes[0].request().life.id
        with ThreadPoolExecutor(2) as pool:
            found = list(pool.map(lambda plane, asked=asked: plane.tries("approve", asked), planes))
        assert sorted(found) == ["", "WRONG_STATE"]
        assert planes[0].states(asked) == ["REQUESTED", "APPROVED"]


def test_one_that_approves_and_one_that_rejects_cannot_both(control_url: str) -> None:
    planes = [Plane(control_url), Plane(control_url)]
    asked = planes[0].request().life.id
    with ThreadPoolExecutor(2) as pool:
        found = list(pool.map(lambda plane, verb: plane.tries(verb, asked), planes, ("approve", "reject")))
    assert sorted(found) == ["", "WRONG_STATE"]
    assert planes[0].in_force() == ([asked] if found[0] == "" else [])


def test_an_unknown_grant_is_not_found(plane: Plane) -> None:
    with pytest.raises(NotFound):
        plane.act("approve", "no-such")


# --- requests -----------------------------------------------------------------------------------------------------------


def test_the_same_request_makes_one_grant(plane: Plane) -> None:
    first = plane.request("a1")
    assert plane.request("a1") == first
    plane.act("approve", first.life.id)
    assert plane.request("a1").life.state is State.APPROVED, "as it is by now"
    assert plane.request("a2").life.id > first.life.id
    with pytest.raises(InvalidRequest, match="request_id"):
        plane.request("a1", fields=["name", "status"])
    other = plane.request("a1", caller="notary", consumer="notary")
    assert other.life.id != first.life.id, "an id of one consumer means nothing to another"
    assert plane.request().life.id != plane.request().life.id, "without an id every request is one"


def test_the_same_request_at_once_makes_one_grant(control_url: str) -> None:
    planes = [Plane(control_url) for _ in range(3)]
    with ThreadPoolExecutor(3) as pool:
        assert len({story.life.id for story in pool.map(Plane.request, planes, ["a1"] * 3)}) == 1


REFUSED: list[tuple[dict[str, Any], list[str]]] = [
    ({"consumer": "nobody"}, ["terms.consumer"]),
    ({"consumer": "Nobody"}, ["terms.consumer"]),
    ({"interface": "no.such"}, ["terms.interface"]),
    ({"interface": ""}, ["terms.interface"]),
    ({"fields": ["name", "salary"]}, ["terms.fields"]),
    ({"fields": []}, ["terms.fields"]),
    ({"purposes": ["a b"], "fields": ["X"]}, ["terms.purposes[0]", "terms.fields[0]"]),
    ({"hours": ["mon-fri 17:00-08:00"]}, ["terms.hours"]),
    ({"rate_per_second": float("nan")}, ["terms.rate_per_second"]),
    ({"rate_per_second": -1.0, "burst": 0}, ["terms.rate_per_second", "terms.burst"]),
    ({"quota_total": 10**13}, ["terms.quota_total"]),
    ({"valid_until": None}, ["terms.valid_until"]),
    ({"valid_until": dt.datetime(2026, 7, 14, 2, 0, tzinfo=dt.UTC)}, ["terms.valid_until"]),
    ({"valid_from": dt.datetime(2099, 1, 1, tzinfo=dt.UTC)}, ["terms.valid_until"]),
    ({"legal_basis": "x" * 20_000}, ["terms"]),
    ({"legal_basis": "\x1b[2J"}, ["terms.legal_basis"]),
    ({"id": "mine"}, ["terms.id"]),
    ({"colour": "red"}, ["terms.colour"]),
]


@pytest.mark.parametrize(("changes", "fields"), REFUSED, ids=",".join)
def test_terms_that_could_not_be_granted_are_refused(tmp_path: Any, changes: dict[str, Any], fields: list[str]) -> None:
    plane = Plane(f"sqlite:///{tmp_path}/control.db")
    with pytest.raises(InvalidRequest) as refusal:
        plane.request(**changes)
    assert [violation.field for violation in refusal.value.violations] == fields
    assert plane.listed() == []


def test_a_request_id_is_not_a_document(plane: Plane) -> None:
    with pytest.raises(InvalidRequest, match="request_id"):
        plane.request("中" * 43)


def test_what_is_not_shared_cannot_be_requested(control_url: str) -> None:
    plane = Plane(control_url, resources=(resource(share_type="NOT_SHARED"),))
    with pytest.raises(InvalidRequest, match=r"terms\.interface: is of a resource that is not shared"):
        plane.request()


def test_a_group_may_hold_a_grant(plane: Plane) -> None:
    asked = plane.request(consumer="windows").life
    assert (asked.consumer, asked.provider) == ("windows", "national.police")


# --- time ---------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("share_type", "mount", "last_day"),
    [
        ("UNCONDITIONAL", None, "2026-07-16"),
        ("UNCONDITIONAL", "NO_INTERFACE", "2026-07-16"),
        ("CONDITIONAL", None, "2026-07-23"),
        ("CONDITIONAL", "MOUNTED", "2026-07-23"),
        ("CONDITIONAL", "UNREACHABLE", "2026-07-30"),
        (None, None, "2026-07-23"),  # an interface that belongs to no resource
    ],
)
def test_until_when_a_provider_decides(control_url: str, share_type: str | None, mount: str | None, last_day: str) -> None:
    resources = (resource(share_type=share_type),) if share_type else ()
    plane = Plane(control_url, resources=resources, interfaces=(interface(resource="R1" if share_type else ""),))
    if mount:
        with create_engine(control_url).begin() as connection:
            connection.execute(insert(mount_state).values(resource="R1", state=mount, since=NOW, probed_at=NOW))
    end = dt.datetime.fromisoformat(f"{last_day}T16:00:00+00:00")  # midnight in Shanghai
    asked = plane.request().life
    assert asked.decide_by == end
    plane.now = end - dt.timedelta(microseconds=1)
    assert plane.listed(overdue=True) == []
    plane.now = end
    assert plane.listed(overdue=True) == [asked.id]
    plane.act("reject", asked.id, "材料不全")
    assert plane.listed(overdue=True) == []


def test_what_is_over_expires(plane: Plane) -> None:
    end = NOW + dt.timedelta(days=30)
    ends = {"valid_until": end}
    short, paused, waiting, long = (plane.request(**terms).life.id for terms in (ends, ends, ends, {}))
    for asked in (short, paused, long):
        plane.act("approve", asked)
    plane.act("pause", paused)
    assert expire_due(plane.database, end - dt.timedelta(microseconds=1)) == 0
    plane.now = end
    assert plane.listed(states=["EXPIRED"]) == [short, paused, waiting], "told so before it is written down"
    assert plane.listed(states=["APPROVED", "PAUSED", "REQUESTED"]) == [long]
    assert plane.listed(overdue=True) == [], "nobody can decide on it any more"
    for verb, asked in (("approve", paused), ("pause", short), ("approve", waiting), ("reject", waiting)):
        assert plane.tries(verb, asked) == "WRONG_STATE"
    before = plane.control.newest()
    assert expire_due(plane.database, end) == 3
    assert plane.control.version() == before.version + 1
    assert plane.control.changes(before).removed == (("grants", short),)
    assert plane.in_force() == [long]
    step = plane.story(short).transitions[-1]
    assert (step.state, step.at, step.actor, step.reason) == (State.EXPIRED, end, "clock", "valid_until has passed")
    assert plane.listed(states=["EXPIRED"]) == [short, paused, waiting]
    assert plane.states(waiting) == ["REQUESTED", "EXPIRED"]
    assert expire_due(plane.database, end) == 0


def test_many_expire_a_part_at_a_time(control_url: str) -> None:
    end = NOW + dt.timedelta(days=1)
    plane = Plane(control_url, *(grant(id=f"g{i:04}", valid_until=end) for i in range(1100)))
    before = plane.control.version()
    assert expire_due(plane.database, end) == 1100
    assert (plane.in_force(), plane.control.version()) == ([], before + 3)


def test_only_what_has_not_ended_can_expire() -> None:
    assert {state.value for state in EXPIRES} == {"REQUESTED", "APPROVED", "PAUSED"}


def test_the_sweep_reads_no_terms(plane: Plane) -> None:
    """Very many grants would have to be decoded every minute."""
    asked = plane.request().life.id
    with plane.database.writing() as connection:
        connection.execute(text("UPDATE grant_life SET terms = :nothing"), {"nothing": b""})
    assert expire_due(plane.database, NOW) == 0
    assert plane.listed(states=["APPROVED"]) == []
    with plane.database.reading() as connection:
        assert lives.over(connection, EXPIRES, dt.datetime(2099, 1, 1, tzinfo=dt.UTC)) == [asked]


# --- looking ------------------------------------------------------------------------------------------------------------


def test_pages_follow_one_another(plane: Plane) -> None:
    asked = [plane.request().life.id for _ in range(5)]
    assert sorted(asked) == asked, "later ones come later"
    assert plane.listed(2) == asked[:2]
    assert plane.listed(2, after=asked[1]) == asked[2:4]
    assert plane.listed(2, after=asked[3]) == asked[4:]
    plane.act("approve", asked[4])
    assert plane.listed(1, states=["APPROVED"]) == [asked[4]]
    assert plane.listed(consumer="notary") == plane.listed(interface="other") == []
    assert plane.listed(consumer="tax-hall", interface=interface().id) == asked
