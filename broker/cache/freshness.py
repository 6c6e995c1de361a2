"""How long an answer may be used. Pure decisions: the time and the jitter are given, nothing is read or kept here.

    stored_at ──── fresh_until ──── revalidate_until      RFC 5861 §3, stale-while-revalidate
        FRESH      │    └────────── error_until           RFC 5861 §4, stale-if-error
                   both stale windows begin where freshness ends and do not depend on one another

All times are milliseconds since the epoch, UTC. A bound is the first moment at which it no longer holds. What must not go
in here: clocks, random numbers, storage.
"""

from __future__ import annotations

import enum
from typing import Protocol

import msgspec

from broker.model.catalogue import Freshness

CLOCK_TOLERANCE_MS = 1000  # an entry stored this far in the future is a clock that was set back, not an answer


class State(enum.Enum):
    """What may be done with an entry now."""

    FRESH = "fresh"  # serve it
    STALE_REVALIDATE = "stale_revalidate"  # serve it and ask the provider once behind it
    STALE_IF_ERROR = "stale_if_error"  # ask first; serve it only if the provider fails
    DEAD = "dead"  # as if it were not there


class Bounds(msgspec.Struct, frozen=True):
    """Until when an answer is fresh and may be served stale."""

    fresh_until: int
    revalidate_until: int
    error_until: int

    @property
    def ends_at(self) -> int:
        """From here on the entry is of no use to anyone."""
        return max(self.fresh_until, self.revalidate_until, self.error_until)


class Times(Protocol):
    """What `judge` looks at: the times of an entry."""

    @property
    def stored_at(self) -> int: ...  # noqa: D102 - see the drawing above
    @property
    def fresh_until(self) -> int: ...  # noqa: D102
    @property
    def revalidate_until(self) -> int: ...  # noqa: D102
    @property
    def error_until(self) -> int: ...  # noqa: D102


def bounds(freshness: Freshness, found: bool, stored_at_ms: int, spread: float) -> Bounds | None:
    """Say until when an answer may be used; None when it must not be kept.

    `spread` is drawn by the caller from -1..1. It moves the TTL by up to ± `jitter_ratio`, so that answers that were asked for
    together do not end together. "No record" has a TTL of its own and no stale windows: a birth must not stay hidden behind
    an old "no record" because its provider is down.
    """
    if not freshness.cacheable:
        return None
    ttl_s = freshness.ttl_s if found else freshness.negative_ttl_s
    revalidate_s = freshness.stale_while_revalidate_s if found else 0
    error_s = freshness.stale_if_error_s if found else 0
    if not (ttl_s or revalidate_s or error_s):
        return None
    fresh_until = stored_at_ms + round(ttl_s * 1000 * (1 + freshness.jitter_ratio * spread))
    return Bounds(fresh_until, fresh_until + revalidate_s * 1000, fresh_until + error_s * 1000)


def judge(times: Times, now_ms: int, max_age_ms: int | None) -> State:
    """Say what may be done with an entry. The first line that holds decides.

    A consumer who states `max_age_ms` gets no older answer at all, not even when the provider fails; a younger one is judged
    as for anyone else. 0 means not from the cache, however young.
    """
    age_ms = now_ms - times.stored_at
    if age_ms < -CLOCK_TOLERANCE_MS:
        return State.DEAD
    if max_age_ms is not None and (age_ms > max_age_ms or not max_age_ms):
        return State.DEAD
    if now_ms < times.fresh_until:
        return State.FRESH
    if now_ms < times.revalidate_until:
        return State.STALE_REVALIDATE
    if now_ms < times.error_until:
        return State.STALE_IF_ERROR
    return State.DEAD
