"""A control plane with a small catalogue in it, and steps of grants in one line."""

from __future__ import annotations

import datetime as dt
import zoneinfo
from typing import Any

import msgspec

from broker.errors import CallerError
from broker.model.catalogue import Catalogue, Group, Resource
from broker.policy import workflow
from broker.policy.browse import Selection, page, read
from broker.policy.database import Database
from broker.policy.lives import State
from broker.policy.request import Ask, request
from broker.policy.standing import OPERATOR
from broker.policy.store import ControlPlane
from broker.policy.workflow import Decision, Story, Verb
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, consumer, grant, interface, provider

KEY = "11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo="
NOW = dt.datetime(2026, 7, 14, 2, 0, tzinfo=dt.UTC)  # a Tuesday
ZONE = zoneinfo.ZoneInfo("Asia/Shanghai")
TERMS = {
    "consumer": CONSUMER,
    "interface": INTERFACE,
    "purposes": [PURPOSE],
    "fields": ["name"],
    "valid_from": dt.datetime(2026, 1, 1, tzinfo=dt.UTC),
    "valid_until": dt.datetime(2099, 1, 1, tzinfo=dt.UTC),
    "legal_basis": "《条例》第六条",
}


def small(*grants: Any, **changes: Any) -> Catalogue:
    """One provider, one interface on a resource, two consumers of which one is alone in a group."""
    named = consumer(KEY), consumer(KEY, id="notary")
    values = {
        "providers": (provider("http://127.0.0.1:1", approvers=["notary"]),),
        "resources": (Resource(code="R1", name="人口", provider="national.police"),),
        "interfaces": (interface(resource="R1"),),
        "consumers": named,
        "groups": (Group(id="windows", name="窗口", members=("notary",)),),
        "grants": grants,
    }
    return Catalogue(**(values | changes))


def resource(**changes: Any) -> Resource:
    return msgspec.convert({"code": "R1", "name": "人口", "provider": "national.police"} | changes, Resource)


class Plane:
    """One control plane, and what time it is."""

    def __init__(self, url: str, *grants: Any, **changes: Any) -> None:
        self.control = ControlPlane(Database(url))
        self.database = self.control.database
        self.now = NOW
        self.control.apply(small(*grants, **changes))

    def request(self, request_id: str = "", caller: str = CONSUMER, **terms: Any) -> Story:
        asked = {name: value for name, value in (TERMS | terms).items() if value is not None}
        return request(
            self.database, Ask(terms=asked, actor="tax-hall/li", caller=caller, request_id=request_id), ZONE, self.now
        )

    def act(self, verb: str, grant_id: str, reason: str = "") -> Story:
        decision = Decision(Verb(verb), "notary/wang", reason)
        return workflow.act(self.database, grant_id, decision, lambda _: None, self.now)

    def tries(self, verb: str, grant_id: str) -> str:
        """The reason of the refusal, or "" if there is none."""
        try:
            self.act(verb, grant_id)
        except CallerError as error:
            return error.reason
        return ""

    def story(self, grant_id: str) -> Story:
        story = read(self.database, grant_id, OPERATOR)
        assert story is not None
        return story

    def states(self, grant_id: str) -> list[str]:
        """Every state there was, in order."""
        return [step.state for step in self.story(grant_id).transitions]

    def in_force(self) -> list[str]:
        return sorted(grant.id for grant in self.control.read()[1].grants)

    def listed(self, size: int = 100, after: str = "", **wanted: Any) -> list[str]:
        states = frozenset(State(state) for state in wanted.pop("states", ()))
        stories, _ = page(self.database, Selection(states=states, **wanted), OPERATOR, after, size, self.now)
        return [story.life.id for story in stories]


__all__ = ["KEY", "NOW", "TERMS", "Plane", "grant", "resource", "small"]
