"""A change of the control plane, as its database keeps it for the audit log: what was done to what, by whom, in which revision.

What must not go in here: writing it down (policy/changes.py, audit/changes.py), and what was changed to what: names only.
"""

from __future__ import annotations

import msgspec

from broker.model.catalogue import Identifier

ADDED, CHANGED, REMOVED = "ADDED", "CHANGED", "REMOVED"
PAUSED_CHANGED, MOVED = "PAUSED_CHANGED", "MOVED"  # of a grant: declared otherwise while it is paused; another provider's now


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One change. Numbers go up in the order in which changes are made, and may have holes."""

    number: int
    revision: int  # that it belongs to, or where nothing in force was changed, the newest at that time
    at: str  # when, as the database tells it
    actor: str  # as `policy.wording.signed` has it: a consumer or "operator", a slash, the person; or "clock"
    method: str  # of the RPC or the command
    target: str  # kind and key, e.g. "grant/g-17"
    outcome: str  # ADDED, CHANGED, REMOVED, PAUSED_CHANGED, MOVED, or the state that a grant has now

    @property
    def seal(self) -> str:
        """What tells it from one of the same number in another database, or in this one after a restore."""
        return f"{self.at} {self.target} {self.outcome}"


def target_of(kind: str, key: str) -> str:
    """Return what a value of the control plane is called in the log; `kind` is that of the catalogue, in the plural."""
    return f"{kind.removesuffix('s')}/{key}"


def grant_target(grant_id: str) -> str:
    """Return what a grant is called in the log, also one that somebody made up: what could be no identifier is left out."""
    try:
        msgspec.convert(grant_id, Identifier)
    except msgspec.ValidationError:
        return "grant"
    return target_of("grants", grant_id)
