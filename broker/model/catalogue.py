"""What the catalogue says: providers, resources, bases, interfaces, consumers and grants, as in TOML and in the snapshot.

Every value is frozen and strict: an unknown key or a wrong type is refused when it is decoded. Rules that need more than one
value (a grant names fields of an interface, …) are in `policy/validate.py`. What must not go in here: behaviour beyond
reading a value's own fields.
"""

from __future__ import annotations

import datetime as dt
import enum
import re
from typing import Annotated, Literal

import msgspec

# Patterns are searched for, and `$` would let a line end through: hence \A and \Z.
Identifier = Annotated[str, msgspec.Meta(pattern=r"\A[a-z0-9][a-z0-9._-]{0,95}\Z")]
FieldName = Annotated[str, msgspec.Meta(pattern=r"\A[a-z][a-z0-9_]{0,63}\Z")]
Code = Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9][A-Za-z0-9._/-]{0,63}\Z")]
HeaderText = Annotated[str, msgspec.Meta(pattern=r"\A[!-~]{0,128}\Z")]  # printable ASCII without spaces, or nothing
FileName = Annotated[str, msgspec.Meta(pattern=r"\A([A-Za-z0-9_-][A-Za-z0-9._-]{0,127})?\Z")]  # of no other directory
ServicePath = Annotated[str, msgspec.Meta(pattern=r"\A(/[!-~]*)?\Z")]  # of a URL, or nothing
Seconds = Annotated[int, msgspec.Meta(ge=0, le=366 * 86_400)]
# When in the week, in the broker's time zone: days, then a half-open span: "mon-fri 08:30-17:30", "daily 00:00-24:00".
DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = f"({'|'.join(DAYS)})"
_CLOCK = "([01][0-9]|2[0-3]):[0-5][0-9]"
Hours = Annotated[str, msgspec.Meta(pattern=rf"\A(daily|{_DAY}(-{_DAY})?) {_CLOCK}-({_CLOCK}|24:00)\Z")]
# What a certificate says of its holder (RFC 5280 §4.2.1.6): "uri:spiffe://city/tax-hall" or "dns:tax-hall.example.gov.cn".
SubjectName = Annotated[
    str, msgspec.Meta(pattern=r"\A(uri:[a-z][a-z0-9+.-]*:[!-~]{1,240}|dns:[a-z0-9]([a-z0-9.-]{0,251}[a-z0-9])?)\Z")
]
# Texts of resources, which travel through spreadsheets and back: nothing blank at either end, no control characters.
_ENDS, _INSIDE = r"[^\s\x00-\x1f\x7f]", r"[^\x00-\x1f\x7f]"
Line = Annotated[str, msgspec.Meta(pattern=rf"\A({_ENDS}({_INSIDE}*{_ENDS})?)?\Z", max_length=4096)]
Name = Annotated[str, msgspec.Meta(pattern=rf"\A{_ENDS}({_INSIDE}*{_ENDS})?\Z", max_length=256)]
Count = Annotated[int, msgspec.Meta(ge=0, le=10**12)]
Moment = Annotated[dt.datetime, msgspec.Meta(tz=True)]  # with an offset; a local time would mean something else elsewhere
Template = dict[str, str]  # name at the provider -> "{argument}" or a constant, which has no braces
PLACEHOLDER = re.compile(r"\{([a-z][a-z0-9_]*)\}")  # the whole of a template's text, else it is a constant


class Value(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """A frozen value that refuses unknown keys."""


class Level(enum.StrEnum):
    """Level of government that runs a provider."""

    NATIONAL = "NATIONAL"
    PROVINCIAL = "PROVINCIAL"
    CITY = "CITY"


class SemanticType(enum.StrEnum):
    """What a field means, and so how it is canonicalised (`model/semantics.py`)."""

    PERSON_NAME = "person_name"
    RESIDENT_ID = "resident_id"
    USCC = "uscc"
    ADDRESS = "address"
    DATE = "date"
    LICENCE_NO = "licence_no"
    TEXT = "text"
    NUMBER = "number"
    PHONE = "phone"
    COMPANY_NAME = "company_name"


class ShareType(enum.StrEnum):
    """Condition under which a resource is shared (GB/T 21063)."""

    UNCONDITIONAL = "UNCONDITIONAL"
    CONDITIONAL = "CONDITIONAL"
    NOT_SHARED = "NOT_SHARED"


# --- providers: where the broker asks -----------------------------------------------------------------------------------


class HttpEndpoint(Value, frozen=True, kw_only=True, tag_field="connector", tag="http"):
    """A provider that speaks JSON over HTTP, in one of the signing dialects of `upstream/dialect.py`."""

    base_url: Annotated[str, msgspec.Meta(pattern=r"\Ahttps?://([A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\])(:[0-9]{1,5})?\Z")]
    dialect: str = "plain"
    requester_id: HeaderText = ""  # who the broker is to this provider (rid)
    app_key_file: FileName = ""  # name of a file in the secrets directory
    secret_path: ServicePath = ""  # of the provider's secret service
    renewal_path: ServicePath = ""  # of the service that renews secrets, where it is another
    digest: str = ""  # what is signed with in place of the dialect's own digest


class GrpcEndpoint(Value, frozen=True, kw_only=True, tag_field="connector", tag="grpc"):
    """A provider that speaks gRPC."""

    target: str  # host:port


class SqlEndpoint(Value, frozen=True, kw_only=True, tag_field="connector", tag="sql"):
    """A provider whose database is read directly, with parameterised queries only."""

    url: str  # SQLAlchemy async URL without a password, e.g. postgresql+psycopg://broker@db/city
    password_file: FileName = ""  # name of a file in the secrets directory
    pool_size: Annotated[int, msgspec.Meta(ge=1, le=100)] = 5


class RecordsEndpoint(Value, frozen=True, kw_only=True, tag_field="connector", tag="records"):
    """A provider whose records the broker itself holds, in record bases."""


Endpoint = HttpEndpoint | GrpcEndpoint | SqlEndpoint | RecordsEndpoint


class Provider(Value, frozen=True, kw_only=True):
    """A department that answers questions, or that only publishes resources so far."""

    id: Identifier
    name: str
    level: Level
    endpoint: Endpoint | None = None  # None: nothing can be asked of it yet
    approvers: tuple[Identifier, ...] = ()  # consumers that decide on requests for grants to its interfaces


# --- record bases: what the broker holds itself --------------------------------------------------------------------------


class RecordField(Value, frozen=True, kw_only=True):
    """One field of the records of a base."""

    type: SemanticType
    title: str = ""
    required: bool = False  # a record without it is refused when it is loaded


class PersonSearch(Value, frozen=True, kw_only=True):
    """Which fields of a base tell people apart, by what they hold; so they can be searched for by what is known of them.

    A base that says this has a query index, made when it is loaded. What is not said is not searched by.
    """

    name: FieldName
    resident_id: FieldName | None = None
    sex: FieldName | None = None
    birth_date: FieldName | None = None
    address: FieldName | None = None
    phone: FieldName | None = None

    def fields(self) -> dict[str, str]:
        """Return the fields that are searched by: what they hold, in a fixed order, and their names in the base."""
        return {kind: name for kind in self.__struct_fields__ if (name := getattr(self, kind)) is not None}


class BaseDeclaration(Value, frozen=True, kw_only=True):
    """Records of one kind, e.g. the population, under one key; loaded by `broker records load`."""

    id: Identifier
    title: str = ""
    key: Annotated[tuple[FieldName, ...], msgspec.Meta(min_length=1, max_length=8)]
    fields: Annotated[dict[FieldName, RecordField], msgspec.Meta(min_length=1, max_length=256)]
    search: PersonSearch | None = None  # None: its records are found by their key alone


# --- interfaces: what can be asked --------------------------------------------------------------------------------------


class Argument(Value, frozen=True, kw_only=True):
    """One argument of an interface."""

    type: SemanticType
    title: str = ""
    required: bool = True
    max_chars: Annotated[int, msgspec.Meta(ge=1, le=512)] = 128


class AnswerField(Value, frozen=True, kw_only=True):
    """One field of an interface's answer."""

    type: SemanticType
    title: str = ""
    required: bool = True  # else the provider may leave it out or send null


class Subject(Value, frozen=True, kw_only=True):
    """What an interface's answers are about."""

    argument: FieldName  # the argument that names the subject; also what `Purge(subject)` goes by
    answer: FieldName | None = None  # the answer's field that must repeat it; None where the provider does not


class Freshness(Value, frozen=True, kw_only=True):
    """How long an answer may be used. The default is not at all: caching is a decision of the provider."""

    cacheable: bool = False
    ttl_s: Seconds = 0
    negative_ttl_s: Seconds = 0  # for "no record"
    stale_while_revalidate_s: Seconds = 0  # RFC 5861 §3, after the TTL
    stale_if_error_s: Seconds = 0  # RFC 5861 §4, after the TTL
    jitter_ratio: Annotated[float, msgspec.Meta(ge=0, le=0.5)] = 0.1  # the TTL is spread by ± this


ProviderFault = Literal["unavailable", "timeout", "overloaded", "refused", "unsigned"]  # the last: a signature not accepted


class Envelope(Value, frozen=True, kw_only=True):
    """How to read a provider's answer. Paths are dotted names and indexes, e.g. ``data.records.0``; "" is the whole answer."""

    # Path of the record. Null or an empty list there means "no record"; a missing name does so only where no code would.
    record: str = ""
    code: str = ""  # path of the business code; "" if the provider has none
    success: tuple[str, ...] = ()  # codes that mean an answer
    not_found: tuple[str, ...] = ()  # codes that mean "no record"
    faults: dict[str, ProviderFault] = {}  # other codes, or how they begin ("db-*"); any code not named here is "refused"


class HttpOperation(Value, frozen=True, kw_only=True, tag_field="connector", tag="http"):
    """How the interface is asked over HTTP."""

    path: Annotated[str, msgspec.Meta(pattern=r"\A/\S*\Z")]
    method: Literal["GET", "POST"] = "POST"
    service_id: HeaderText = ""  # what the provider calls the interface (sid)
    requester_id: HeaderText = ""  # where the interface has its own, in place of the endpoint's
    app_key_file: FileName = ""  # likewise
    parameters: Template = {}  # JSON body of a POST, query of a GET
    envelope: Envelope = Envelope()
    fields: dict[str, str] = {}  # our field -> path in the record; the same name where not given


class GrpcOperation(Value, frozen=True, kw_only=True, tag_field="connector", tag="grpc"):
    """How the interface is asked over gRPC: one unary call with an encoded map each way."""

    method: Annotated[str, msgspec.Meta(pattern=r"\A/[A-Za-z0-9_.]+/[A-Za-z0-9_]+\Z")]
    codec: Literal["json", "msgpack"] = "json"
    parameters: Template = {}
    envelope: Envelope = Envelope()
    fields: dict[str, str] = {}


class SqlOperation(Value, frozen=True, kw_only=True, tag_field="connector", tag="sql"):
    """How the interface is asked in SQL: one SELECT whose bound parameters are the arguments."""

    query: str  # e.g. SELECT name FROM person WHERE resident_id = :resident_id
    fields: dict[str, str] = {}  # our field -> column


class RecordsOperation(Value, frozen=True, kw_only=True, tag_field="connector", tag="records"):
    """The interface is answered from a record base: its arguments are the base's key."""

    base: Identifier
    fields: dict[FieldName, FieldName] = {}  # our field -> field of the base
    search: bool = False  # whether subjects may be looked for by what is known of them; every grant of it then allows that


Operation = HttpOperation | GrpcOperation | SqlOperation | RecordsOperation


class Standing(Value, frozen=True, kw_only=True):
    """How a record says whether it is in force. A value that is not named here says nothing."""

    field: FieldName | None = None  # of the answer
    valid: tuple[str, ...] = ()
    cancelled: tuple[str, ...] = ()
    deceased: tuple[str, ...] = ()
    expired: tuple[str, ...] = ()
    until: FieldName | None = None  # of the answer: the last day on which the record is in force

    @property
    def fields(self) -> tuple[FieldName, ...]:
        """The fields that say it."""
        return tuple(name for name in (self.field, self.until) if name is not None)


class MatchRule(Value, frozen=True, kw_only=True):
    """How the verdicts on single fields become one. The worst counts: mismatch, not held, close, match."""

    decisive: tuple[FieldName, ...] = ()  # the fields that count; empty: all that are asserted
    accept_score: Annotated[float, msgspec.Meta(gt=0, le=1)] = 1.0  # a field as close as this counts as a match


class Interface(Value, frozen=True, kw_only=True):
    """One question that can be asked of one provider."""

    id: Identifier
    version: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 1
    title: str
    provider: Identifier
    resource: str = ""
    arguments: dict[FieldName, Argument]
    answer: dict[FieldName, AnswerField]
    subject: Subject
    operation: Operation
    standing: Standing = Standing()
    match: MatchRule = MatchRule()
    freshness: Freshness = Freshness()
    timeout_ms: Annotated[int, msgspec.Meta(ge=100, le=60_000)] = 3000
    probe: dict[FieldName, str] = {}  # arguments to ask with, now and then, whether it still answers; of a made-up subject
    side_effect: bool = False  # asking changes something: never cached, never shared between callers
    sensitive: bool = False  # no answer leaves before it is on the disk that it was given, whatever the settings say
    audit: Literal["durable", "buffered"] = "durable"  # buffered: answers do not wait for the disk


class ResourceItem(Value, frozen=True, kw_only=True):
    """One data item of a resource."""

    name: Name
    type: SemanticType = SemanticType.TEXT
    max_chars: Annotated[int, msgspec.Meta(ge=0, le=1_000_000)] = 0  # 0: not stated


UpdateCycle = Literal["real-time", "daily", "weekly", "monthly", "quarterly", "yearly", "irregular"]


class Resource(Value, frozen=True, kw_only=True):
    """One entry of the catalogue, after GB/T 21063."""

    code: Code
    name: Name
    provider: Identifier
    abstract: Line = ""
    items: tuple[ResourceItem, ...] = ()
    classification: Line = ""  # class, item, topic and sub-topic, e.g. "3-01-002"
    share_type: ShareType = ShareType.CONDITIONAL
    share_condition: Line = ""
    update_cycle: UpdateCycle = "irregular"
    published: dt.date | None = None


# --- consumers and grants: who may ask ----------------------------------------------------------------------------------


class ConsumerKey(Value, frozen=True, kw_only=True):
    """A public key under which a consumer signs its tokens."""

    id: Identifier
    public_key: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9+/]{43}=\Z")]  # Ed25519, 32 bytes, base64


class Consumer(Value, frozen=True, kw_only=True):
    """A system that asks."""

    id: Identifier
    name: str
    department: str = ""
    keys: tuple[ConsumerKey, ...] = ()
    certificates: tuple[SubjectName, ...] = ()  # names in the client certificates by which it is known
    identity: Literal["either", "both"] = "either"  # whether a token and a certificate are both needed


class Group(Value, frozen=True, kw_only=True):
    """Consumers that one grant is given to; its limits are the group's, not each member's."""

    id: Identifier
    name: str
    members: tuple[Identifier, ...]


class Disclosure(enum.StrEnum):
    """What a consumer may learn."""

    DATA = "DATA"
    VERDICT_ONLY = "VERDICT_ONLY"


class Grant(Value, frozen=True, kw_only=True):
    """A contract: this consumer may ask this interface for these purposes and see these fields, this fast, this long."""

    id: Identifier
    consumer: Identifier  # or a group
    interface: Identifier
    purposes: Annotated[tuple[Code, ...], msgspec.Meta(min_length=1, max_length=1000)]
    fields: Annotated[tuple[FieldName, ...], msgspec.Meta(min_length=1, max_length=1000)]
    valid_from: Moment
    valid_until: Moment
    matters: Annotated[tuple[Code, ...], msgspec.Meta(max_length=10_000)] = ()  # empty: any
    caller_units: Annotated[tuple[Code, ...], msgspec.Meta(max_length=10_000)] = ()  # of the consumer; empty: any
    hours: Annotated[tuple[Hours, ...], msgspec.Meta(max_length=100)] = ()  # empty: always
    operator_required: bool = False  # a call must name the person who causes it
    device_required: bool = False  # a call must name the terminal it comes from
    legal_basis: str = ""
    rate_per_second: Annotated[float, msgspec.Meta(ge=0.001, le=1_000_000)] = 10.0
    burst: Annotated[int, msgspec.Meta(ge=1, le=1_000_000)] = 20
    quota_per_day: Count = 0  # calls a day in the broker's time zone; 0: no limit, here and below
    quota_total: Count = 0  # calls over the grant's whole life
    subjects_per_day: Count = 0  # distinct subjects a day
    disclosure: Disclosure = Disclosure.DATA
    cache_max_age_s: Seconds | None = None  # greatest age of a cached answer; None: what the interface allows
    stale_allowed: bool = True
    embargo_class: str = ""  # of its usage records


class Catalogue(Value, frozen=True, kw_only=True):
    """Everything that was applied, as it stands in the files of a catalogue directory taken together."""

    providers: tuple[Provider, ...] = ()
    resources: tuple[Resource, ...] = ()
    bases: tuple[BaseDeclaration, ...] = ()
    interfaces: tuple[Interface, ...] = ()
    consumers: tuple[Consumer, ...] = ()
    groups: tuple[Group, ...] = ()
    grants: tuple[Grant, ...] = ()
