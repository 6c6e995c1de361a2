"""Faults that can be switched on at a pretended department, and when they end. What a fault does is the servers' business."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Annotated, Literal

import msgspec

Kind = Literal[
    "none",
    "down",  # every connection is closed at once
    "error500",
    "html",  # a page where data was expected, with status 200
    "empty",  # no body
    "garbage",  # bytes that are nothing
    "slow",  # the right answer after `latency_ms`
    "hang",  # no answer ever
    "wrong_subject",  # somebody else's record
    "business_error",  # a refusal in the envelope
    "quota",  # the department's own quota is used up
    "disconnect",  # the connection is cut in the middle of the answer
]


class Fault(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """An order to misbehave; `none` ends it."""

    provider: str  # or the first part of the name, `national` or `provincial`, for all of them
    kind: Kind
    seconds: Annotated[float, msgspec.Meta(ge=0)] = 0  # 0: until the next order
    latency_ms: Annotated[int, msgspec.Meta(ge=0)] = 1500  # for `slow`


class Faults:
    """The faults in force."""

    def __init__(self, providers: frozenset[str], clock: Callable[[], float] = time.monotonic) -> None:
        self._providers = providers
        self._clock = clock
        self._in_force: dict[str, tuple[Fault, float]] = {}

    def order(self, fault: Fault) -> bool:
        """Put a fault in force; return False if this process has no such provider."""
        chosen = {name for name in self._providers if f"{name}.".startswith(f"{fault.provider}.")}
        ends = self._clock() + fault.seconds if fault.seconds else float("inf")
        self._in_force.update(dict.fromkeys(chosen, (fault, ends)))
        return bool(chosen)

    def current(self, provider: str) -> Fault | None:
        """Return the fault of a provider, if one is in force."""
        fault, ends = self._in_force.get(provider, (None, 0.0))
        return fault if fault and fault.kind != "none" and self._clock() < ends else None
