"""`broker grant …` as an operator uses it, on a control plane without a broker, and beside one that runs."""

from __future__ import annotations

import datetime as dt
import getpass
import json
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import create_engine, text

from tests.support.catalogue import INTERFACE, catalogue
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually
from tests.test_catalogue import GOOD

TERMS = ("--consumer", "tax-hall", "--interface", INTERFACE, "--purpose", "loan-check", "--field", "name")


class Operator:
    """Somebody at a terminal; each command is a process."""

    def __init__(self, broker: RunningBroker, directory: Path) -> None:
        self.broker = broker
        self.directory = directory

    def run(self, *arguments: str) -> Any:
        return self.broker.run_here(*arguments, COLUMNS="200")

    def json(self, *arguments: str) -> Any:
        done = self.run(*arguments, "--json")
        assert done.returncode == 0, done.stderr
        return json.loads(done.stdout)

    def refused(self, *arguments: str, code: int = 15) -> str:
        done = self.run(*arguments)
        assert (done.returncode, done.stdout, done.stderr.count("\n")) == (code, "", 1)
        return str(done.stderr)

    def request(self, *more: str) -> Any:
        return self.json("grant", "request", *TERMS, "--until", "2090-01-01", *more)


@pytest.fixture
def operator(tmp_path: Path) -> Operator:
    (tmp_path / "catalogue").mkdir()
    (tmp_path / "catalogue/all.toml").write_text(GOOD)
    operator = Operator(RunningBroker(tmp_path), tmp_path / "catalogue")
    operator.json("catalogue", "apply", str(operator.directory), "--actor", "陈")
    return operator


def test_the_life_of_a_grant(operator: Operator) -> None:
    asked = operator.request("--legal-basis", "第六条 [x]", "--matter", "M1", "--term", "quota_per_day=9", "--term", "burst=3")
    assert (asked["state"], asked["declared"], asked["overdue"]) == ("REQUESTED", False, False)
    terms = asked["terms"]
    assert (terms["matters"], terms["quota_per_day"], terms["burst"]) == (["M1"], 9, 3)
    end = dt.datetime.fromisoformat(terms["valid_until"])
    assert end == dt.datetime(2089, 12, 31, 16, 0, tzinfo=dt.UTC), "midnight in the broker's time zone"
    for verb, state in (("approve", "APPROVED"), ("pause", "PAUSED"), ("revoke", "REVOKED")):
        after = operator.json("grant", verb, asked["id"], "--reason", "因故", "--actor", "王")
        assert after["state"] == state
    steps = [(step["state"], step["actor"], step["reason"]) for step in after["transitions"]]
    assert steps == [
        ("REQUESTED", f"operator/{getpass.getuser()}", "第六条 [x]"),
        ("APPROVED", "operator/王", "因故"),
        ("PAUSED", "operator/王", "因故"),
        ("REVOKED", "operator/王", "因故"),
    ]
    assert operator.json("grant", "show", asked["id"]) == after
    shown = operator.run("grant", "show", asked["id"]).stdout
    for text_ in (f"{asked['id']}: REVOKED", "2090-01-01 00:00", "第六条 [x]", "loan-check", "operator/王"):
        assert text_ in shown


def test_what_is_refused_is_one_line(operator: Operator) -> None:
    asked = operator.request()["id"]
    assert "is REQUESTED: pause cannot follow" in operator.refused("grant", "pause", asked)
    assert "reason: is required" in operator.refused("grant", "reject", asked, "--reason", " ")
    assert operator.run("grant", "reject", asked).returncode == 2
    for command in ("show", "approve"):
        assert "no such grant" in operator.refused("grant", command, "no-such")
    again = ("grant", "request", *TERMS, "--until", "2090-01-01")
    assert "terms.fields: `salary`" in operator.refused(*again, "--field", "salary")
    assert "terms.colour: is not a term" in operator.refused(*again, "--term", "colour=red")
    assert operator.run(*again, "--term", "burst").returncode == 2
    assert "--actor: " in operator.refused(*again, "--actor", "长" * 99, code=3)
    assert len(operator.json("grant", "list")["grants"]) == 2


def test_the_list(operator: Operator) -> None:
    first, second = operator.request()["id"], operator.request("--request-id", "a", "--from", "2026-01-01")["id"]
    assert operator.request("--request-id", "a", "--from", "2026-01-01")["id"] == second
    done = operator.run("grant", "request", *TERMS, "--until", "2090-01-01", "--request-id", "a")
    assert (done.returncode, "--request-id needs --from" in done.stderr) == (2, True), "tomorrow it would be other terms"
    with create_engine(operator.broker.config.expand(operator.broker.config.control.url)).begin() as connection:
        late = {"then": "2020-01-01 00:00:00.000000", "id": first}
        connection.execute(text("UPDATE grant_life SET decide_by = :then WHERE id = :id"), late)

    def listed(*arguments: str) -> list[str]:
        return [grant["id"] for grant in operator.json("grant", "list", *arguments)["grants"]]

    assert listed() == ["g1", first, second]
    assert listed("--overdue") == [first]
    assert listed("--state", "approved", "--state", "REQUESTED", "--limit", "2") == ["g1", first]
    assert listed("--after", first, "--consumer", "tax-hall", "--interface", INTERFACE) == [second]
    shown = operator.broker.run("grant", "list", "--limit", "2", COLUMNS="200").stdout
    assert "2020-01-01 08:00 overdue" in shown
    assert f"there are more: --after {first}" in shown


def test_identifiers_are_never_cut(operator: Operator) -> None:
    long = "x" * 90 + ".end"
    (operator.directory / "all.toml").write_text(GOOD.replace('id = "g1"', f'id = "{long}"'))
    operator.json("catalogue", "apply", str(operator.directory))
    asked = operator.request()["id"]
    for columns in ("40", "80"):
        shown = operator.broker.run_here("grant", "list", COLUMNS=columns).stdout
        assert long in shown
        assert asked in shown
        assert "…" not in shown


def test_what_happens_to_grants_is_said(operator: Operator) -> None:
    asked = operator.request()["id"]
    operator.json("grant", "pause", "g1")
    text_ = GOOD.replace('fields = ["name"]', 'fields = ["resident_id"]')
    assert text_ != GOOD
    (operator.directory / "all.toml").write_text(text_)
    shown = operator.run("catalogue", "diff", str(operator.directory)).stdout
    assert "paused grants: declared otherwise" in shown
    assert shown.endswith("nothing was changed\n")
    alone = "[[providers]]" + GOOD.split("[[providers]]")[1].split("[[")[0]
    (operator.directory / "all.toml").write_text(alone)
    assert operator.json("catalogue", "diff", str(operator.directory))["difference"]["ended"] == [asked]
    assert asked in operator.run("catalogue", "apply", str(operator.directory)).stdout
    assert operator.json("grant", "show", asked)["state"] == "REVOKED"


def test_what_is_withheld_is_said(operator: Operator) -> None:
    assert operator.json("grant", "show", "g1")["transitions"][0]["actor"] == "operator/陈"
    operator.json("grant", "pause", "g1")
    told = operator.json("catalogue", "apply", str(operator.directory))["difference"]
    assert (told["withheld"], told["added"]) == (["g1"], {})
    shown = operator.run("catalogue", "diff", str(operator.directory)).stdout
    assert "grants withheld: paused, revoked or expired" in shown
    assert shown.endswith("no difference\n")


def test_a_requested_grants_id_cannot_be_declared(operator: Operator) -> None:
    asked = operator.request()["id"]
    (operator.directory / "all.toml").write_text(GOOD.replace('id = "g1"', f'id = "{asked}"'))
    done = operator.run("catalogue", "apply", str(operator.directory))
    assert done.returncode == 8
    assert f"grants ({asked}).id" in done.stderr


def test_a_declared_one_is_added_by_somebody(operator: Operator) -> None:
    added = operator.json("grant", "add", str(operator.directory), *TERMS, "--until", "2090-01-01", "--actor", "赵")
    told = operator.json("grant", "show", added["id"])
    assert (told["state"], told["declared"], told["transitions"][0]["actor"]) == ("APPROVED", True, "operator/赵")


async def test_a_running_broker_follows(broker: RunningBroker, register: Register) -> None:
    await broker.put(catalogue(register.base_url, broker.public_key, grants=()))
    operator = Operator(broker, broker.directory)
    asked = operator.json("grant", "request", *TERMS, "--until", "2090-01-01")["id"]
    operator.json("grant", "approve", asked)

    async def granted() -> bool:
        return bool(operator.json("status")["grants"] == 1)

    await eventually(granted)
