"""Between a provider's words and ours: filling in its parameters, opening its envelope. Pure.

A provider that answers HTTP 200 with a business error has failed: an answer counts only under a code that the interface
names as success. What must not go in here: transport, and whether the record's values are any good (`answer.py`).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from broker.errors import (
    ProviderError,
    ProviderNonsense,
    ProviderOverloaded,
    ProviderRefused,
    ProviderTimeout,
    ProviderUnavailable,
)
from broker.model.call import Question
from broker.model.catalogue import PLACEHOLDER, Envelope, ProviderFault, Template

# Anything else may be a sentence, and a sentence may hold personal data; so may a long number (a telephone's has 11 digits).
_PUBLIC_CODE = re.compile(r"(?!.*[0-9]{9})[A-Za-z0-9._-]{1,12}")
_ANY = "*"  # at the end of a fault's code: every code that begins so
_TRUTH = {True: "true", False: "false"}


class SignatureRefused(ProviderRefused):
    """The provider did not accept a request's signature, or the secret under it."""


_FAULTS: Mapping[ProviderFault, Callable[..., ProviderError]] = {
    "unavailable": ProviderUnavailable,
    "timeout": ProviderTimeout,
    "overloaded": ProviderOverloaded,
    "refused": ProviderRefused,
    "unsigned": SignatureRefused,
}


def fill(template: Template, arguments: Mapping[str, str]) -> dict[str, str]:
    """Return the provider's parameters: a value is ``{argument}`` or a constant; an argument that was not given leaves none."""
    filled = {name: _value(text, arguments) for name, text in template.items()}
    return {name: value for name, value in filled.items() if value is not None}


def _value(text: str, arguments: Mapping[str, str]) -> str | None:
    placeholder = PLACEHOLDER.fullmatch(text)
    return arguments.get(placeholder[1]) if placeholder else text


def paths(question: Question) -> dict[str, str]:
    """Return where the record holds each field of the interface's answer."""
    named = question.interface.operation.fields
    return {field: named.get(field, field) for field in question.interface.answer}


_MISSING = object()


def open_envelope(envelope: Envelope, fields: Mapping[str, str], decoded: Any, provider: str) -> dict[str, Any] | None:
    """Return the record's values under our names (absent ones left out), or None where there is no record.

    Args:
        envelope: how the provider wraps its answers.
        fields: our field -> path in the record.
        decoded: the whole answer as plain values.
        provider: named in errors.

    Raises:
        ProviderError: the business code is none of success and "no record".
        ProviderNonsense: the envelope is not built as the interface says, or holds more than one record.
    """
    if envelope.code and not _has_record(envelope, decoded, provider):
        return None
    placed = _find(decoded, envelope.record, provider)
    if placed is _MISSING and envelope.not_found:  # a provider that says "no record" by code has renamed something
        raise ProviderNonsense(provider, "success, but nothing stands where the record should")
    record = _only(None if placed is _MISSING else placed, provider)
    if record is None:
        return None
    found = {field: look_up(record, path, provider) for field, path in fields.items()}
    return {field: value for field, value in found.items() if value is not None}


def look_up(decoded: Any, path: str, provider: str) -> Any:
    """Return what stands at a dotted path of names and indexes, or None where nothing does; "" is the whole.

    Raises:
        ProviderNonsense: the path leads into a value that has no parts, or asks a list for a name.
    """
    value = _find(decoded, path, provider)
    return None if value is _MISSING else value


def _find(decoded: Any, path: str, provider: str) -> Any:
    """Like `look_up`, but tells a name that does not stand there (`_MISSING`) from a null that does."""
    value = decoded
    for step in path.split(".") if path else ():
        if value is None or value is _MISSING:
            return value
        value = _step(value, step, provider)
    return value


def _step(value: Any, step: str, provider: str) -> Any:
    match value:
        case dict():
            return value.get(step, _MISSING)
        case list() if step.isdecimal():
            return value[int(step)] if int(step) < len(value) else None  # an empty list is an answer: nothing held
    raise ProviderNonsense(provider, "the answer is not built as the interface says")


def _has_record(envelope: Envelope, decoded: Any, provider: str) -> bool:
    """Judge the business code."""
    code = _code_text(look_up(decoded, envelope.code, provider))
    if code is None:
        raise ProviderNonsense(provider, "the answer has no business code")
    if code in envelope.not_found:
        return False
    if code not in envelope.success:
        raise _FAULTS[fault_of(envelope, code)](provider, upstream_code=public_code(code))
    return True


def fault_of(envelope: Envelope, code: str) -> ProviderFault:
    """Return what a code means that is none of success: as it is named, else by the longest beginning that is, else refused."""
    if code in envelope.faults:
        return envelope.faults[code]
    begins = [key for key in envelope.faults if key.endswith(_ANY) and code.startswith(key.removesuffix(_ANY))]
    return envelope.faults[max(begins, key=len)] if begins else "refused"


def _code_text(code: Any) -> str | None:
    """Return a code as text, since providers send 0, "0" and true for the same thing from one release to the next."""
    match code:
        case bool():
            return _TRUTH[code]
        case int() | str():
            return str(code)
    return None


def public_code(code: str) -> str:
    """Return a provider's code if it reads as one, else ""."""
    return code if _PUBLIC_CODE.fullmatch(code) else ""


def _only(record: Any, provider: str) -> dict[str, Any] | None:
    """Return the one record of a list, the record itself, or None for nothing."""
    if isinstance(record, list):
        if len(record) > 1:
            raise ProviderNonsense(provider, "more than one record")
        record = record[0] if record else None
    if record is not None and not isinstance(record, dict):
        raise ProviderNonsense(provider, "the record is not a set of fields")
    return record
