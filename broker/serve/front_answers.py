"""What a record says, for the methods that a front answers itself: by the functions that the core calls (`broker/exchange.py`).

One `Answers` is of one interface version under one image. Whatever the core would refuse, or cannot be told here, comes out as
None, and the core is asked; native code has identified, authorised and canonicalised before, and takes the call off its limits
afterwards (`ext/hot_match.pyx`, `ext/hot_call.pyx`). It imports neither gRPC nor protobuf. What must not go in here: decisions
of its own, the wire, the cache.
"""

from __future__ import annotations

import datetime as dt
import hashlib
from collections.abc import Callable, Iterable, Mapping
from typing import Any, NamedTuple, TypeVar

import structlog

from broker._native.policy import Image
from broker.errors import BrokerError
from broker.model.call import Authority, Comparison, Encoding
from broker.model.catalogue import BaseDeclaration, Interface, RecordsOperation
from broker.model.payload import decoded, encoded
from broker.model.question import check_asserted
from broker.model.snapshot import authority_of, with_standing
from broker.records.answer import answered
from broker.records.store import Bases
from broker.records.verdicts import day_of, judge

log = structlog.get_logger("front")

Judged = tuple[bool, Comparison]  # whether there is a record, and what it says
Shown = tuple[bool, bytes, bytes]  # whether there is a record, what is shown of it, and SHA-256 of that
_Told = TypeVar("_Told")

# Characters of a record: what takes longer to read or to compare is not to hold up everybody else's calls.
_MOST_COMPARED, _MOST_SHOWN = 512, 16_384


class Held(NamedTuple):
    """Where the records of an interface are."""

    operation: RecordsOperation
    base: BaseDeclaration
    bases: Bases


class Answers:
    """Tells what records say of one interface version. For one event loop."""

    def __init__(self, image: Image, interface: Interface, held: Held | None, zone: dt.tzinfo) -> None:
        self._image = image
        self._interface = interface
        self._held = held
        self._zone = zone
        self._authorities: dict[int, Authority] = {}  # those asked for so far, by ref
        self._masks: dict[int, bytes] = {}

    def mask(self, ref: int) -> bytes:
        """Return what stands for the fields that are known to compare under a term of the image."""
        found = self._masks.get(ref)
        if found is None:
            found = self._masks[ref] = with_standing(self._authority(ref), self._interface.standing).mask
        return found

    def match_held(self, ref: int, key: Mapping[str, str], asserted: Mapping[str, str], wall_ms: int) -> Judged | None:
        """Compare what is asserted with the record that is held under a canonical key."""
        return _if_sure(lambda: self._match_held(ref, key, asserted, wall_ms))

    def match_payload(self, ref: int, payload: bytes | None, asserted: Mapping[str, str], wall_ms: int) -> Judged | None:
        """Compare what is asserted with a cached answer, of which this is the JSON payload; None: there is no record."""
        return _if_sure(lambda: self._match_payload(ref, payload, asserted, wall_ms))

    def call_held(self, ref: int, key: Mapping[str, str], encoding: int) -> Shown | None:
        """Return what a term of the image shows of the record that is held under a canonical key."""
        return _if_sure(lambda: self._call_held(ref, key, Encoding(encoding)))

    def _match_held(self, ref: int, key: Mapping[str, str], asserted: Mapping[str, str], wall_ms: int) -> Judged | None:
        if self._held is None:
            return None
        check_asserted(asserted, self._interface, self._authority(ref).fields)
        operation, base, bases = self._held
        record = bases.look_up(base, key)
        names = dict.fromkeys((*asserted, *self._interface.standing.fields))
        if _chars(record, (operation.fields.get(name, name) for name in names)) > _MOST_COMPARED:
            return None
        fields = None if record is None else answered(self._interface, operation, record, names)
        return record is not None, judge(self._interface, asserted, fields, day_of(wall_ms, self._zone))

    def _match_payload(self, ref: int, payload: bytes | None, asserted: Mapping[str, str], wall_ms: int) -> Judged | None:
        check_asserted(asserted, self._interface, self._authority(ref).fields)
        fields = None if payload is None else decoded(payload)
        if _chars(fields, asserted) > _MOST_COMPARED:
            return None
        return payload is not None, judge(self._interface, asserted, fields, day_of(wall_ms, self._zone))

    def _call_held(self, ref: int, key: Mapping[str, str], encoding: Encoding) -> Shown | None:
        if self._held is None:
            return None
        operation, base, bases = self._held
        record, names = bases.look_up(base, key), self._authority(ref).fields
        if _chars(record, (operation.fields.get(name, name) for name in names)) > _MOST_SHOWN:
            return None
        fields = None if record is None else answered(self._interface, operation, record, names)
        payload = encoded(fields, names, encoding)
        return record is not None, payload, hashlib.sha256(payload).digest()

    def _authority(self, ref: int) -> Authority:
        found = self._authorities.get(ref)
        if found is None:
            found = self._authorities[ref] = authority_of(self._image, ref)
        return found


def _chars(values: Mapping[str, Any] | None, names: Iterable[str]) -> int:
    """Count the characters of some values, if there are any."""
    return sum(len(str(values.get(name) or "")) for name in names) if values else 0


def _if_sure(tell: Callable[[], _Told | None]) -> _Told | None:
    """Return what is told; nothing where the core would refuse, or where something happens that nobody has foreseen."""
    try:
        return tell()
    except BrokerError:
        return None
    except Exception as error:  # never with its text, which may be personal; the core will meet it too, and tell it all
        log.error("a front could not answer", error=type(error).__name__)
        return None
