"""How grants are shown: as tables for people, in the broker's time zone, and as plain values for JSON, in UTC."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable
from typing import Any

import msgspec
from rich.markup import escape

from broker.cli.output import say, table
from broker.policy.lives import WORKFLOW, Life, State
from broker.policy.workflow import Story, is_overdue, shown


def plain(story: Story, now: dt.datetime) -> dict[str, Any]:
    """Return a grant as plain values."""
    life, state = story.life, shown(story.life, now)
    return {
        "id": life.id,
        "state": state,
        "declared": life.origin != WORKFLOW,
        "provider": life.provider,
        "requested_at": life.requested_at,
        "decide_by": life.decide_by,
        "overdue": is_overdue(life, now),
        "terms": {name: value for name, value in msgspec.to_builtins(life.terms).items() if name != "id"},
        "transitions": [msgspec.to_builtins(step) for step in story.transitions],
    }


def show_all(stories: Iterable[Story], zone: dt.tzinfo, now: dt.datetime) -> None:
    """Print a line for each grant."""
    table(
        ("id", "consumer", "interface", "state", "valid until", "decide by"),
        [
            (
                life.id,
                life.consumer,
                life.interface,
                shown(life, now),
                _time(life.terms.valid_until, zone),
                _decide_by(life, zone, now),
            )
            for life in (story.life for story in stories)
        ],
        whole=("id",),
    )


def show(story: Story, zone: dt.tzinfo, now: dt.datetime) -> None:
    """Print the terms of a grant and every step of its life."""
    life = story.life
    waits = _decide_by(life, zone, now)
    say(f"{life.id}: {shown(life, now)}{f', to be decided by {waits}' if waits else ''}")
    terms = [(name, escape(_text(getattr(life.terms, name), zone))) for name in life.terms.__struct_fields__ if name != "id"]
    table(("term", "value"), [("provider", life.provider), *terms])
    steps = [(step.state, _time(step.at, zone), escape(step.actor), escape(step.reason)) for step in story.transitions]
    table(("state", "when", "who", "why"), steps)


def _decide_by(life: Life, zone: dt.tzinfo, now: dt.datetime) -> str:
    if shown(life, now) is not State.REQUESTED or life.decide_by is None:
        return ""
    return _time(life.decide_by, zone) + (" overdue" if is_overdue(life, now) else "")


def _text(value: Any, zone: dt.tzinfo) -> str:
    if isinstance(value, tuple):
        return ", ".join(value)
    return _time(value, zone) if isinstance(value, dt.datetime) else "" if value is None else str(value)


def _time(moment: dt.datetime, zone: dt.tzinfo) -> str:
    return moment.astimezone(zone).strftime("%Y-%m-%d %H:%M")
