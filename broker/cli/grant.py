"""`broker grant`: declare a grant in a catalogue directory; ask for grants, decide on them, look at them.

Operators' commands: they work on the control plane itself, as `broker catalogue apply` does, and need no running broker;
running ones follow within a second. Consumers and approvers have `GrantService`.
"""

from __future__ import annotations

import contextlib
import datetime as dt
import functools
import json as json_text
import zoneinfo
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

import typer

from broker.cli import grant_tables
from broker.cli.actor import Actor, signature
from broker.cli.catalogue import apply_directory
from broker.cli.output import ConfigFile, Json, emit, load_config, say
from broker.config import Config
from broker.errors import CallerError, CatalogueRefused, DirectoryUnusable, StartupError
from broker.policy import browse, workflow
from broker.policy.browse import Selection
from broker.policy.database import Database, open_database
from broker.policy.lives import State
from broker.policy.request import Ask
from broker.policy.request import request as begin
from broker.policy.standing import OPERATOR, check
from broker.policy.wording import worded
from broker.policy.workflow import Decision, Story, Verb

app = typer.Typer(help="Grants: declare, request, decide, look.", no_args_is_help=True)

Id = Annotated[str, typer.Argument(help="Identifier of the grant.")]
Reason = Annotated[str, typer.Option(help="Why, as the history will tell.")]
Who = Annotated[str, typer.Option("--consumer", help="Who may ask: a consumer or a group.")]
What = Annotated[str, typer.Option("--interface", help="What.")]
Purposes = Annotated[list[str], typer.Option("--purpose", help="For which purpose; may be repeated.")]
Fields = Annotated[list[str], typer.Option("--field", help="Which field of the answer; may be repeated.")]
Until = Annotated[
    dt.datetime, typer.Option(formats=["%Y-%m-%d"], help="First day on which it no longer holds, in policy.time_zone.")
]


class GrantRefused(StartupError):
    """What was asked for cannot be done to this grant, or there is no such grant."""

    exit_code = 15


@app.command()
def add(
    path: Annotated[Path, typer.Argument(help="Catalogue directory; the grant becomes a file in it.")],
    consumer: Who,
    interface: What,
    purpose: Purposes,
    field: Fields,
    until: Until,
    actor: Actor = "",
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Write a grant into a catalogue directory and apply the directory; undone if it would not be valid."""
    name = f"{consumer}.{interface}.{purpose[0]}".lower().replace("/", "-")  # codes may have slashes, file names may not
    target, config = path / f"grant-{name}.toml", load_config(file)
    if target.exists():
        raise CatalogueRefused((f"{target.name}: exists already; edit it and run `broker catalogue apply {path}`",))
    values = {"id": name, "consumer": consumer, "interface": interface, "purposes": purpose, "fields": field}
    try:
        target.write_text(_toml(values, _midnight(None, config), _midnight(until, config)), encoding="utf-8")
    except OSError as error:
        raise DirectoryUnusable(f"{target}: cannot be written ({error.strerror})") from error
    try:
        version, _ = apply_directory(path, config, actor)
    except BaseException:
        target.unlink()
        raise
    if json:
        emit({"id": name, "file": str(target), "version": version})
    else:
        say(f"{target} written; revision {version} in force")


@app.command()
def request(
    consumer: Who,
    interface: What,
    purpose: Purposes,
    field: Fields,
    until: Until,
    since: Annotated[
        dt.datetime | None, typer.Option("--from", formats=["%Y-%m-%d"], help="First day on which it holds; today without.")
    ] = None,
    legal_basis: Annotated[str, typer.Option(help="The legal basis, in words.")] = "",
    matter: Annotated[list[str] | None, typer.Option(help="For which matter; any without; may be repeated.")] = None,
    term: Annotated[
        list[str] | None,
        typer.Option(help="Any other term, as in the catalogue: name=value, the value as JSON; may be repeated."),
    ] = None,
    request_id: Annotated[str, typer.Option(help="The same id again makes no second grant; needs --from.")] = "",
    actor: Actor = "",
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Ask for a grant on behalf of a consumer; the provider's approver decides."""
    if request_id and since is None:  # which would be another day tomorrow, and so another request
        raise typer.BadParameter("--request-id needs --from")
    config = load_config(file)
    terms: dict[str, Any] = {"consumer": consumer, "interface": interface, "purposes": purpose, "fields": field}
    terms |= {"valid_from": _midnight(since, config), "valid_until": _midnight(until, config)}
    terms |= {"legal_basis": legal_basis, "matters": matter or [], **_terms(term or [])}
    ask = Ask(terms=terms, actor=signature(actor), caller=OPERATOR.name, method="broker grant request", request_id=request_id)
    with _control(config) as database:
        story = begin(database, ask, _zone(config), _now())
    _print(story, config, json)


@app.command()
def approve(grant: Id, reason: Reason = "", actor: Actor = "", file: ConfigFile = None, json: Json = False) -> None:
    """Put a requested or paused grant in force."""
    _act(Verb.APPROVE, grant, reason, actor, file, json)


@app.command()
def reject(
    grant: Id,
    reason: Annotated[str, typer.Option(help="Why, as the history will tell.")],
    actor: Actor = "",
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """Refuse a requested grant."""
    _act(Verb.REJECT, grant, reason, actor, file, json)


@app.command()
def pause(grant: Id, reason: Reason = "", actor: Actor = "", file: ConfigFile = None, json: Json = False) -> None:
    """Suspend a grant; it can be approved again."""
    _act(Verb.PAUSE, grant, reason, actor, file, json)


@app.command()
def revoke(grant: Id, reason: Reason = "", actor: Actor = "", file: ConfigFile = None, json: Json = False) -> None:
    """End a grant for good, or withdraw a request."""
    _act(Verb.REVOKE, grant, reason, actor, file, json)


@app.command("list")
def list_(
    consumer: Annotated[str, typer.Option(help="Only of this consumer or group.")] = "",
    interface: Annotated[str, typer.Option(help="Only for this interface.")] = "",
    state: Annotated[
        list[State] | None, typer.Option(case_sensitive=False, help="Only in this state; may be repeated.")
    ] = None,
    overdue: Annotated[bool, typer.Option("--overdue", help="Only requests that should have been decided.")] = False,
    limit: Annotated[int, typer.Option(min=1, help="At most so many.")] = 1000,
    after: Annotated[str, typer.Option(help="Only those that follow on this identifier.")] = "",
    file: ConfigFile = None,
    json: Json = False,
) -> None:
    """List grants in order of identifier."""
    config, now = load_config(file), _now()
    wanted = Selection(consumer=consumer, interface=interface, states=frozenset(state or ()), overdue=overdue)
    with _control(config) as database:
        stories, more = browse.page(database, wanted, OPERATOR, after, limit, now)
    if json:
        emit({"grants": [grant_tables.plain(story, now) for story in stories], "more": more})
        return
    grant_tables.show_all(stories, _zone(config), now)
    if more:
        say(f"there are more: --after {stories[-1].life.id}")


@app.command()
def show(grant: Id, file: ConfigFile = None, json: Json = False) -> None:
    """Show the terms of a grant and every step of its life."""
    config = load_config(file)
    with _control(config) as database:
        story = browse.read(database, grant, OPERATOR)
    if story is None:
        raise GrantRefused("no such grant")
    _print(story, config, json)


def _act(verb: Verb, grant: str, reason: str, actor: str, file: Path | None, json: bool) -> None:
    config, permit = load_config(file), functools.partial(check, OPERATOR, verb)
    with _control(config) as database:
        decision = Decision(verb, signature(actor), worded(reason, required=verb is Verb.REJECT), f"broker grant {verb}")
        story = workflow.act(database, grant, decision, permit, _now())
    _print(story, config, json)


@contextlib.contextmanager
def _control(config: Config) -> Iterator[Database]:
    """Open the control plane; what is refused becomes one line."""
    database = open_database(config)
    try:
        yield database
    except CallerError as error:
        raise GrantRefused(str(error)) from None
    finally:
        database.close()


def _print(story: Story, config: Config, json: bool) -> None:
    now = _now()
    emit(grant_tables.plain(story, now)) if json else grant_tables.show(story, _zone(config), now)


def _terms(given: list[str]) -> dict[str, Any]:
    terms = {}
    for text in given:
        name, equals, value = text.partition("=")
        if not equals:
            raise typer.BadParameter("terms are name=value")
        terms[name] = _value(value)
    return terms


def _value(text: str) -> Any:
    """A value as JSON; what is none is a text, so that words need no quotes inside quotes."""
    try:
        return json_text.loads(text)
    except ValueError:
        return text


def _midnight(day: dt.datetime | None, config: Config) -> dt.datetime:
    """Return when a day begins; without one, today."""
    date = (day or dt.datetime.now(_zone(config))).date()
    return dt.datetime.combine(date, dt.time(), _zone(config))


def _zone(config: Config) -> zoneinfo.ZoneInfo:
    return zoneinfo.ZoneInfo(config.policy.time_zone)


def _now() -> dt.datetime:
    return dt.datetime.now(dt.UTC)


def _toml(values: dict[str, Any], valid_from: dt.datetime, valid_until: dt.datetime) -> str:
    # JSON strings and arrays of strings are TOML as they stand.
    lines = [f"{key} = {json_text.dumps(value, ensure_ascii=False)}" for key, value in values.items()]
    lines += [f"valid_from = {valid_from.isoformat()}", f"valid_until = {valid_until.isoformat()}"]
    return "[[grants]]\n" + "\n".join(lines) + "\n"
