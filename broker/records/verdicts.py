"""What a record says of what is asserted: a verdict a field, the state of the record, one verdict over all. Pure.

What must not go in here: where the record comes from, who may ask, and how alike two values are (likeness.py).
"""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from typing import Any

from broker.model.call import Comparison, FieldVerdict, SubjectStatus, Verdict
from broker.model.catalogue import Interface, MatchRule, SemanticType, Standing
from broker.model.semantics import NotCanonical, canonical
from broker.records.likeness import DIFFERENT, SAME, is_readable, likeness

MATCH, MISMATCH, NOT_HELD = FieldVerdict(Verdict.MATCH), FieldVerdict(Verdict.MISMATCH), FieldVerdict(Verdict.NOT_HELD)
_STATES = {
    "valid": SubjectStatus.VALID,
    "cancelled": SubjectStatus.CANCELLED,
    "deceased": SubjectStatus.DECEASED,
    "expired": SubjectStatus.EXPIRED,
}
_WORST_FIRST = (Verdict.MISMATCH, Verdict.NOT_HELD, Verdict.CLOSE, Verdict.MATCH)


def judge(interface: Interface, asserted: Mapping[str, str], held: Mapping[str, Any] | None, today: dt.date) -> Comparison:
    """Compare asserted fields with a record of an interface's answer, or with there being none."""
    if held is None:
        return Comparison({}, SubjectStatus.UNKNOWN, None)
    verdicts = {name: compare(interface, name, text, held.get(name)) for name, text in asserted.items()}
    return Comparison(verdicts, status_of(interface.standing, held, today), overall(interface.match, verdicts))


def day_of(wall_ms: int, zone: dt.tzinfo) -> dt.date:
    """Return the day on which a record must still be in force."""
    return dt.datetime.fromtimestamp(wall_ms / 1000, zone).date()


def overall(rule: MatchRule, verdicts: Mapping[str, FieldVerdict]) -> Verdict:
    """Return the worst verdict on the fields that count; where none of those was asserted, on all."""
    counted = [verdicts[name] for name in rule.decisive if name in verdicts] or list(verdicts.values())
    accepted = {
        Verdict.MATCH if one.verdict is Verdict.CLOSE and one.score >= rule.accept_score else one.verdict for one in counted
    }
    return next(verdict for verdict in _WORST_FIRST if verdict in accepted)


def status_of(standing: Standing, held: Mapping[str, Any], today: dt.date) -> SubjectStatus:
    """Return the state that a record says it is in; one that is in force and past its last day has expired."""
    said = str(held.get(standing.field) or "").strip() if standing.field else ""
    state = next((state for name, state in _STATES.items() if said and said in getattr(standing, name)), None)
    if state not in (None, SubjectStatus.VALID):
        return state
    until = _date(held.get(standing.until)) if standing.until else None
    if until is not None and until < today:
        return SubjectStatus.EXPIRED
    in_force = state is SubjectStatus.VALID or (until is not None and not said)  # a state that nobody has named says nothing
    return SubjectStatus.VALID if in_force else SubjectStatus.UNKNOWN


def _date(value: Any) -> dt.date | None:
    try:
        return dt.date.fromisoformat(canonical(SemanticType.DATE, str(value)))
    except NotCanonical:
        return None


def compare(interface: Interface, name: str, asserted: str, held: Any) -> FieldVerdict:
    """Return the verdict on one field of an interface's answer."""
    if held is None or held == "":
        return NOT_HELD
    kind = interface.answer[name].type
    if not is_readable(kind, asserted):
        return MISMATCH  # or a name could be found out, one character at a time
    score = likeness(kind, asserted, str(held))
    if score == SAME:
        return MATCH
    return FieldVerdict(Verdict.CLOSE, score) if score > DIFFERENT else MISMATCH
