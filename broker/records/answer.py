"""What an interface answers from a record that is held: the record's values under the interface's names, in their final form.

Identifiers, dates and numbers come out canonical where they can; everything else, and what has no canonical form, as it was
written. Pure. What must not go in here: where records are (store.py), whether they agree with anything (verdicts.py).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from broker.model.catalogue import Interface, RecordsOperation, SemanticType
from broker.model.semantics import AS_WRITTEN, NotCanonical, canonical
from broker.records.rows import Record


def answered(interface: Interface, operation: RecordsOperation, held: Record, names: Iterable[str]) -> dict[str, Any]:
    """Return those fields of the interface's answer that are named; what is not held is None."""
    return {name: _final(interface.answer[name].type, held.get(operation.fields.get(name, name))) for name in names}


def _final(kind: SemanticType, value: str | None) -> str | int | float | None:
    if value is None or kind in AS_WRITTEN:
        return value
    try:
        text = canonical(kind, value)
    except NotCanonical:
        return value
    return _number(text) if kind is SemanticType.NUMBER else text


def _number(text: str) -> int | float | str:
    """A number, unless that would lose digits."""
    value = float(text) if "." in text else int(text)
    return value if str(value) == text and abs(value) < 2**63 else text
