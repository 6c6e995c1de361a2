"""Step 4 of a call: what was written becomes one canonical question with a key, or is refused with every violation found.

`weigh` comes before everything else, so that an oversized request costs no work. Violations name fields and rules, never
values; a name that is not in the schema is repeated only if it could be a field name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping

from broker._native.cachekey import cache_key
from broker.config import Limits
from broker.errors import InvalidRequest, Violation
from broker.model.call import Encoding, Question, Request
from broker.model.catalogue import Argument, Interface
from broker.model.semantics import NotCanonical, canonical
from broker.model.snapshot import Snapshot

_FIELD_NAME = re.compile(r"[a-z][a-z0-9_]{0,63}")
_CONTEXT_FIELDS = ("interface", "purpose", "matter", "operator", "case_id")
_MAX_CONTEXT_BYTES = 128


def weigh(request: Request, limits: Limits) -> None:
    """Refuse a request that is larger than any honest one or lacks what every call needs.

    Raises:
        InvalidRequest: too many arguments, an argument or a context field too long, no interface or no purpose.
    """
    violations = [*_context_violations(request), *_weight_violations(request, limits)]
    if violations:
        raise InvalidRequest(*violations)


def _context_violations(request: Request) -> Iterator[Violation]:
    for name in _CONTEXT_FIELDS:
        text: str = getattr(request, name)
        if name in ("interface", "purpose") and not text:
            yield Violation(name, "is required")
        if len(text.encode()) > _MAX_CONTEXT_BYTES:
            yield Violation(name, f"must not be longer than {_MAX_CONTEXT_BYTES} bytes")


def _weight_violations(request: Request, limits: Limits) -> Iterator[Violation]:
    given_parts = (("arguments", request.arguments), ("asserted", request.asserted or {}), ("known", request.known or {}))
    for part, given in given_parts:
        if len(given) > limits.max_arguments:
            yield Violation(part, f"must not be more than {limits.max_arguments}")
            continue
        for name, text in given.items():
            if len(name) + len(text.encode()) > limits.max_argument_bytes:
                yield Violation(_path(name, part), f"must not be longer than {limits.max_argument_bytes} bytes")


def canonicalise(snapshot: Snapshot, interface: Interface, request: Request) -> Question:
    """Return the question that a request means.

    Raises:
        InvalidRequest: an argument is missing, unknown, too long or has no canonical form; every one is named.
    """
    violations = [Violation(_path(name), "is not an argument of this interface") for name in _unknown(interface, request)]
    canonical_arguments = []
    for name in sorted(interface.arguments):
        try:
            text = _canonical_argument(interface.arguments[name], request.arguments.get(name, ""))
        except NotCanonical as error:
            violations.append(Violation(_path(name), str(error)))
        else:
            canonical_arguments += [(name, text)] if text else []
    if violations:
        raise InvalidRequest(*violations)
    return _question(interface, snapshot.definitions[interface.id, interface.version], tuple(canonical_arguments))


def _unknown(interface: Interface, request: Request) -> Iterable[str]:
    return sorted(request.arguments.keys() - interface.arguments.keys())


def _canonical_argument(argument: Argument, text: str) -> str:
    if not text:
        if argument.required:
            raise NotCanonical("is required")
        return ""
    if len(text) > argument.max_chars:
        raise NotCanonical(f"must not be longer than {argument.max_chars} characters")
    return canonical(argument.type, text)


def _question(interface: Interface, definition: bytes, arguments: tuple[tuple[str, str], ...]) -> Question:
    key = cache_key(interface.id, interface.version, 0, definition, arguments)
    return Question(interface=interface, definition=definition, arguments=arguments, key=key)


def subject_of(interface: Interface, key: Mapping[str, str | None]) -> str:
    """Return the subject of a record, by the values of its key, as a question for it would name it."""
    text = key.get(interface.subject.argument) or ""
    try:
        return canonical(interface.arguments[interface.subject.argument].type, text)
    except NotCanonical:
        return text


def answer_key(question: Question, encoding: Encoding, mask: bytes) -> bytes:
    """Return the key of one answer to a question: what was granted and how it is encoded are part of it."""
    interface = question.interface
    return cache_key(interface.id, interface.version, encoding, question.definition + mask, question.arguments)


def check_asserted(asserted: Mapping[str, str], interface: Interface, granted: Collection[str]) -> None:
    """Refuse to compare what the grant does not show, alike whether the record has it or not.

    Raises:
        InvalidRequest: nothing is asserted, or a field that is not granted, or an empty one; every one is named. Or the
            interface changes something when it is asked.
    """
    if interface.side_effect:
        raise InvalidRequest(Violation("target", "must not be an interface with side effects"))
    _check_given("asserted", asserted, granted)


def check_known(request: Request, granted: Collection[str], searched: Collection[str]) -> None:
    """Refuse to look for a subject by what the grant does not show, or the base is not searched by.

    Raises:
        InvalidRequest: nothing is known, or an empty field, or one that is not granted or not searched; every one is named.
    """
    known = request.known or {}
    _check_given("known", known, granted)
    unsearched = [name for name in sorted(known) if name not in searched]
    if unsearched:
        raise InvalidRequest(*(Violation(_path(name, "known"), "is not a field that is searched by") for name in unsearched))


def _check_given(part: str, given: Mapping[str, str], granted: Collection[str]) -> None:
    violations = [] if given else [Violation(part, "is required")]
    for name in sorted(given):
        if name not in granted:
            violations.append(Violation(_path(name, part), "is not a field that the grant gives"))
        elif not given[name].strip():
            violations.append(Violation(_path(name, part), "must not be empty"))
    if violations:
        raise InvalidRequest(*violations)


def _path(name: str, part: str = "arguments") -> str:
    return f"{part}.{name}" if _FIELD_NAME.fullmatch(name) else part
