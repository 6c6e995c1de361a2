"""Checks a record against the interface's answer schema and the question: right shape, forms and subject. Pure.

The schema becomes a generated msgspec type, so shape and length are checked in native code. Identifiers, dates and numbers
come out canonical; names, addresses and text as the source wrote them. An error names the field and the rule, never the
value. What must not go in here: how the provider wraps its answers (`envelope.py`).
"""

from __future__ import annotations

import functools
import math
from collections.abc import Callable, Mapping
from decimal import Decimal
from typing import Annotated, Any

import msgspec

from broker.errors import ProviderNonsense
from broker.model.call import Question
from broker.model.catalogue import AnswerField, SemanticType
from broker.model.semantics import AS_WRITTEN, DAMAGE, MAX_TEXT_CHARS, NotCanonical, canonical

_Text = Annotated[str, msgspec.Meta(max_length=MAX_TEXT_CHARS)]
_Schema = tuple[tuple[str, AnswerField], ...]
_SMALLEST, _LARGEST = -(2**63), 2**64 - 1  # what MessagePack can carry


def check_answer(question: Question, values: Mapping[str, Any], provider: str) -> dict[str, Any]:
    """Return every field of the interface's answer; an optional one that the provider left out is None.

    Raises:
        ProviderNonsense: a field is missing, of the wrong kind or without canonical form, or the subject is another.
    """
    schema = tuple(question.interface.answer.items())
    try:
        shaped = msgspec.convert(values, _shape(schema))
    except msgspec.ValidationError as error:
        raise ProviderNonsense(provider, str(error)) from None  # msgspec names path and types, no values
    answer = {name: _read(name, field, getattr(shaped, name), provider) for name, field in schema}
    _check_subject(question, answer, provider)
    return answer


@functools.lru_cache(maxsize=4096)
def _shape(schema: _Schema) -> type[msgspec.Struct]:
    """Return the type of an answer; interfaces with equal schemas share one."""
    fields = [_member(name, field) for name, field in sorted(schema, key=lambda item: not item[1].required)]
    return msgspec.defstruct("Answer", fields, frozen=True, gc=False)


def _member(name: str, field: AnswerField) -> tuple[str, Any] | tuple[str, Any, Any]:
    kind: Any = int | float | _Text if field.type is SemanticType.NUMBER else _Text
    return (name, kind) if field.required else (name, kind | None, None)


def _read(name: str, field: AnswerField, value: Any, provider: str) -> Any:
    """Return one value in its final form. An optional identifier, date or number sent as "" was left out."""
    if value is None or (value == "" and not field.required and field.type not in AS_WRITTEN):
        return None
    try:
        return _READERS.get(field.type, canonical)(field.type, value)
    except NotCanonical as error:
        raise ProviderNonsense(provider, f"{name}: {error}") from None


def _raw(_: SemanticType, text: str) -> str:
    if DAMAGE.search(text):
        raise NotCanonical("must not contain control characters")
    return text


def _number(kind: SemanticType, value: float | str) -> int | float:
    """Return a number; text is read as a plain decimal, so ``NaN``, ``Infinity`` and ``1e5`` are not numbers here."""
    if isinstance(value, str):
        plain = canonical(kind, value)
        value = float(plain) if "." in plain else int(plain)
        if Decimal(repr(value)) != Decimal(plain):
            raise NotCanonical("has more digits than a number can carry")
    if not (_SMALLEST <= value <= _LARGEST if isinstance(value, int) else math.isfinite(value)):
        raise NotCanonical("must be a finite number of at most 64 bits")
    return value


_READERS: Mapping[SemanticType, Callable[[SemanticType, Any], Any]] = {
    **dict.fromkeys(AS_WRITTEN, _raw),
    SemanticType.NUMBER: _number,
}


def _check_subject(question: Question, answer: Mapping[str, Any], provider: str) -> None:
    """Refuse another person's record: the worst that a mixed-up provider can do to a citizen."""
    subject = question.interface.subject
    if subject.answer is None or not question.subject:
        return
    said = answer[subject.answer]
    if said != question.subject and _canonical_subject(question, said) != question.subject:
        raise ProviderNonsense(provider, "the answer is about another subject")


def _canonical_subject(question: Question, value: Any) -> str | None:
    kind = question.interface.arguments[question.interface.subject.argument].type
    try:
        return canonical(kind, str(value))
    except NotCanonical:
        return None
