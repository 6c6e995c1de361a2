"""The values that travel along the path of a call: what was asked, what it means, what the provider said, what is answered.

What must not go in here: protobuf messages (services translate) and anything that decides.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from typing import Any, NamedTuple

import msgspec

from broker.model.catalogue import Interface, Level


class Encoding(enum.IntEnum):
    """How a payload is encoded; numbers as in the contract."""

    JSON = 1
    MSGPACK = 2


class Source(enum.IntEnum):
    """Where an answer was taken from; numbers as in the contract."""

    UPSTREAM = 1
    CACHE = 2
    RECORDS = 3


class Times(NamedTuple):
    """What time it is, in milliseconds since the epoch, as a careful reader of clocks sees it (`policy/clock.py`).

    What begins is judged by the earliest time it can be, what ends by the latest, so that a wall clock that jumps refuses
    too much rather than too little.
    """

    wall_ms: int
    earliest_ms: int
    latest_ms: int

    @classmethod
    def exactly(cls, wall_ms: int) -> Times:
        """When the wall clock is above doubt."""
        return cls(wall_ms, wall_ms, wall_ms)


class Peer(msgspec.Struct, frozen=True, kw_only=True):
    """What a caller shows to be known by. At least one of the two is needed."""

    token: str = ""  # application token; "" if there is not exactly one
    certificate: bytes = b""  # PEM of the client certificate that the TLS handshake verified


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One call as the consumer wrote it."""

    interface: str
    arguments: Mapping[str, str]
    purpose: str
    version: int = 0  # 0: the current one
    matter: str = ""
    operator: str = ""  # the person who causes the call
    unit: str = ""  # the unit of the consumer that the person works for
    device: str = ""  # the terminal it comes from
    case_id: str = ""
    max_age_ms: int | None = None  # None: what the interface allows
    method: str = ""  # by which it came, e.g. "broker.v1.ExchangeService/Call"
    request_id: str = ""  # by which the consumer knows it
    previous_attempts: int = 0  # how often the consumer's gRPC library has sent this call before
    encoding: Encoding = Encoding.JSON
    asserted: Mapping[str, str] | None = None  # fields to compare with the record; None: the record itself is asked for
    known: Mapping[str, str] | None = None  # fields by which a subject is looked for; None: its key is in the arguments


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """One canonical question to one interface. Equal questions have equal keys, different ones never."""

    interface: Interface
    definition: bytes  # 16 bytes that stand for the interface and its provider as they are defined now
    arguments: tuple[tuple[str, str], ...]  # canonical, sorted by name
    key: bytes  # 32 bytes; says nothing of who asks or what they may see

    @property
    def subject(self) -> str:
        """The canonical value of the argument that names the subject; "" where it is optional and was not given."""
        return dict(self.arguments).get(self.interface.subject.argument, "")


class Authority(msgspec.Struct, frozen=True, kw_only=True):
    """The grant that covers a call: what it shows and how much of it may be asked."""

    ref: int  # of its term in the snapshot's image
    grant: str
    fields: tuple[str, ...]  # granted fields of this interface version, sorted
    mask: bytes  # 16 bytes; equal for equal field sets
    cache_max_age_ms: int | None  # None: what the interface allows
    stale_allowed: bool
    quota_per_day: int  # 0: no limit, here and below
    quota_total: int
    subjects_per_day: int
    counter: int  # key of its counters; equal for equal limits of the same grant
    embargo_class: str = ""  # of what is put down of its use

    @property
    def limits(self) -> tuple[int, int]:
        """What a call is counted against."""
        return self.counter, self.subjects_per_day


class Remaining(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of a grant's limits after a call, as far as this machine knows; None where there is no limit."""

    burst: int
    today: int | None
    total: int | None


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What the provider said about one question: all fields of the interface's answer, or that there is no record."""

    fields: Mapping[str, Any] | None
    fetched_at_ms: int  # wall clock, UTC
    intent: str = ""  # audit record that told that the provider was about to be asked
    took_us: int = 0  # that the provider took


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """What leaves: the part that is the same for everyone who may see it, and the part that is about this one call."""

    body: bytes  # wire form of CallResponse without source, age and stale
    source: Source
    age_ms: int
    stale: bool
    found: bool
    interface: Interface
    level: Level
    snapshot_version: int = 0  # by which it was decided
    remaining: Remaining | None = None
    intent: str = ""  # as of the record
    provider_us: int = 0
    audit_id: str = ""  # of what was put down of this access


class Verdict(enum.IntEnum):
    """The comparison of one asserted field with the record; numbers as in the contract."""

    MATCH = 1
    CLOSE = 2
    MISMATCH = 3
    NOT_HELD = 4


class FieldVerdict(NamedTuple):
    """The verdict on one field, and how alike the two are where it is CLOSE: in (0, 1), else 0."""

    verdict: Verdict
    score: float = 0.0


class SubjectStatus(enum.IntEnum):
    """The state of a record; numbers as in the contract."""

    UNKNOWN = 0
    VALID = 1
    CANCELLED = 2
    DECEASED = 3
    EXPIRED = 4


class Comparison(NamedTuple):
    """What a record says of what is asserted: verdicts, never a stored value."""

    verdicts: Mapping[str, FieldVerdict]
    status: SubjectStatus
    overall: Verdict | None  # None: there is no record


class Matched(msgspec.Struct, frozen=True, kw_only=True):
    """A comparison that was asked for."""

    answer: Answer  # of which only where it comes from, and what is left of limits, may be told
    comparison: Comparison


class Decision(enum.IntEnum):
    """What a search advises; numbers as in the contract."""

    LINK = 1
    REVIEW = 2
    NONE = 3


class Candidate(msgspec.Struct, frozen=True, kw_only=True):
    """One subject that a search found."""

    probability: float  # that it is the one meant, in [0, 1]
    decision: Decision
    verdicts: Mapping[str, FieldVerdict]  # on what was known
    payload: bytes  # granted fields as JSON; empty where the grant shows no data
    guards: tuple[str, ...]  # what lowered the decision


class Searched(msgspec.Struct, frozen=True, kw_only=True):
    """Candidates, the most probable first, and the advice over all."""

    candidates: tuple[Candidate, ...]
    decision: Decision
    interface: Interface
    level: Level
    snapshot_version: int
    remaining: Remaining
    audit_id: str = ""
