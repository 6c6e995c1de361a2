"""The tree of errors. A class says whose fault it is and how it is answered; the raiser cannot forget either.

    BrokerError
    ├── CallerError            the consumer's request cannot be served as it is; never counted against a provider
    │   ├── InvalidRequest         INVALID_ARGUMENT     names every field that is wrong
    │   ├── Unauthenticated        UNAUTHENTICATED      one constant text, whatever was wrong with what was shown
    │   ├── NotGranted             PERMISSION_DENIED    unknown interface and missing grant alike
    │   ├── OutsideHours           PERMISSION_DENIED    there is a grant, but not at this time of the week
    │   ├── VerdictOnly            PERMISSION_DENIED    there is a grant, but not for data
    │   ├── NotAllowed             PERMISSION_DENIED    not the caller's to decide or to see
    │   ├── NotFound               NOT_FOUND            no such thing of the catalogue or of the control plane
    │   ├── WrongState             FAILED_PRECONDITION  what is asked for cannot follow on the state it is in
    │   ├── LimitExceeded          RESOURCE_EXHAUSTED   a limit of the grant, with the time to wait
    │   │   ├── RateExceeded           calls a second
    │   │   └── QuotaExceeded          calls a day or in all, subjects a day
    │   └── OutcomeUnknown         ABORTED              a retry of what must not be done twice
    ├── ProviderError          the provider failed; ``stale_allowed`` says whether an old answer may stand in
    │   ├── ProviderUnavailable    UNAVAILABLE          no connection, connection lost, 5xx
    │   ├── ProviderTimeout        DEADLINE_EXCEEDED    no answer in time
    │   ├── ProviderOverloaded     RESOURCE_EXHAUSTED   the provider's own quota or rate
    │   ├── ProviderRefused        FAILED_PRECONDITION  a business error of the provider, mapped by the interface
    │   └── ProviderNonsense       INTERNAL             not decodable, against the schema, or about another subject
    ├── DeadlineExceeded       DEADLINE_EXCEEDED    the call's own deadline passed inside the broker
    ├── ControlPlaneUnavailable UNAVAILABLE         a quota cannot be counted, or a grant decided on, now
    ├── BaseUnusable           UNAVAILABLE          a record base is not loaded, or damaged
    ├── Draining               UNAVAILABLE          this process is about to end; another one will answer
    ├── NotAvailable           UNIMPLEMENTED        the contract has it, this version does not
    └── StartupError           never leaves by RPC: one line on standard error and an exit code of its own

Texts never hold values that came from outside, only names of fields and codes. What must not go in here: anything that
decides, and anything of gRPC's library (codes are names; `services/status.py` turns them into a `google.rpc.Status`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar, Literal

Origin = Literal["CLIENT", "BROKER", "UPSTREAM"]


class BrokerError(Exception):
    """Any failure that the broker knows by name."""

    code: ClassVar[str] = "INTERNAL"
    reason: ClassVar[str] = "INTERNAL"
    origin: ClassVar[Origin] = "BROKER"
    stale_allowed: ClassVar[bool] = False  # whether an old answer may stand in (RFC 5861 §4)
    retry_after_s: float | None = None

    def metadata(self) -> dict[str, str]:
        """Further facts for `ErrorInfo.metadata`; never values of arguments or answers."""
        return {}


class CallerError(BrokerError):
    """The request cannot be served as it is."""

    origin = "CLIENT"


@dataclass(frozen=True)
class Violation:
    """One field that is wrong: its path and the rule it breaks, never its value."""

    field: str
    rule: str


class InvalidRequest(CallerError):
    """A field is missing, unknown or ill-formed. Raised with every violation found, not only the first."""

    code = "INVALID_ARGUMENT"
    reason = "INVALID_REQUEST"

    def __init__(self, *violations: Violation) -> None:
        super().__init__("; ".join(f"{v.field}: {v.rule}" for v in violations))
        self.violations = violations


class Unauthenticated(CallerError):
    """No token and no certificate, or one that is expired, altered, foreign or unknown. The caller is not told which."""

    code = "UNAUTHENTICATED"
    reason = "TOKEN_REFUSED"

    def __init__(self) -> None:
        super().__init__("a valid application token or client certificate is required")


class NotGranted(CallerError):
    """No grant covers this consumer, interface, purpose and time; or there is no such interface."""

    code = "PERMISSION_DENIED"
    reason = "GRANT_MISSING"

    def __init__(self) -> None:
        super().__init__("no grant covers this interface for this purpose")


class OutsideHours(CallerError):
    """A grant covers the call, but not at this time of the week."""

    code = "PERMISSION_DENIED"
    reason = "OUTSIDE_HOURS"

    def __init__(self) -> None:
        super().__init__("the grant does not hold at this time of the week")


class VerdictOnly(CallerError):
    """A grant covers the question, but only its comparison with what the consumer asserts (Match)."""

    code = "PERMISSION_DENIED"
    reason = "VERDICT_ONLY"

    def __init__(self) -> None:
        super().__init__("the grant allows verdicts (Match) only, not data")


class NotAllowed(CallerError):
    """The caller is known, but this is not its to decide or to see. Says what would be needed."""

    code = "PERMISSION_DENIED"
    reason = "NOT_ALLOWED"


class NotFound(CallerError):
    """No such resource, interface or grant, or none that this caller may know of."""

    code = "NOT_FOUND"
    reason = "NOT_FOUND"


class WrongState(CallerError):
    """What is asked for cannot follow on the state that the thing is in. Says which state that is."""

    code = "FAILED_PRECONDITION"
    reason = "WRONG_STATE"


class LimitExceeded(CallerError):
    """A limit of the grant is used up for now. `limit` is the term of the grant that says how much it is."""

    code = "RESOURCE_EXHAUSTED"

    def __init__(self, grant: str, limit: str, retry_after_s: float | None) -> None:
        wait = "" if retry_after_s is None else f"; retry in {retry_after_s:.3f} s"
        super().__init__(f"{limit} used up{wait}")
        self.grant = grant
        self.limit = limit
        self.retry_after_s = retry_after_s

    def metadata(self) -> dict[str, str]:
        """Name the limit."""
        return {"limit": self.limit}


class RateExceeded(LimitExceeded):
    """`rate_per_second` and `burst`."""

    reason = "RATE_EXCEEDED"


class QuotaExceeded(LimitExceeded):
    """`quota_per_day`, `quota_total` or `subjects_per_day`; no retry time where waiting does not help."""

    reason = "QUOTA_EXCEEDED"


class OutcomeUnknown(CallerError):
    """A gRPC library sent a call again whose interface has a side effect; the first attempt may have had it."""

    code = "ABORTED"
    reason = "OUTCOME_UNKNOWN"

    def __init__(self) -> None:
        super().__init__("this is a retry of a call with a side effect; find out whether the first attempt was carried out")


class ProviderError(BrokerError):
    """The provider did not give a usable answer."""

    origin = "UPSTREAM"
    stale_allowed = True
    text: ClassVar[str] = "the provider failed"

    def __init__(self, provider: str, *, upstream_code: str = "", retry_after_s: float | None = None) -> None:
        super().__init__(f"{provider}: {self.text}")
        self.provider = provider
        self.upstream_code = upstream_code
        self.retry_after_s = retry_after_s

    def metadata(self) -> dict[str, str]:
        """Name the provider and its own code."""
        return {"provider": self.provider, "upstream_code": self.upstream_code}


class ProviderUnavailable(ProviderError):
    """No connection, a connection lost, or the provider's server said 5xx."""

    code = "UNAVAILABLE"
    reason = "PROVIDER_UNAVAILABLE"
    text = "the provider cannot be reached"


class ProviderTimeout(ProviderError):
    """No answer within the interface's time."""

    code = "DEADLINE_EXCEEDED"
    reason = "PROVIDER_TIMEOUT"
    text = "the provider did not answer in time"


class ProviderOverloaded(ProviderError):
    """The provider's own quota or rate is used up."""

    code = "RESOURCE_EXHAUSTED"
    reason = "PROVIDER_QUOTA"
    text = "the provider's quota is used up"


class ProviderRefused(ProviderError):
    """The provider answered with a business error."""

    code = "FAILED_PRECONDITION"
    reason = "PROVIDER_REFUSED"
    stale_allowed = False
    text = "the provider refused the question"


class ProviderNonsense(ProviderError):
    """The answer cannot be decoded, breaks the interface's schema, or is about another subject."""

    code = "INTERNAL"
    reason = "PROVIDER_ANSWER_INVALID"
    text = "the provider's answer is not valid"

    def __init__(self, provider: str, defect: str, *, upstream_code: str = "") -> None:
        super().__init__(provider, upstream_code=upstream_code)
        self.defect = defect

    def metadata(self) -> dict[str, str]:
        """Add what is wrong with the answer, in words of ours."""
        return {**super().metadata(), "defect": self.defect}


class DeadlineExceeded(BrokerError):
    """The call's deadline passed while it waited inside the broker."""

    code = "DEADLINE_EXCEEDED"
    reason = "DEADLINE_EXCEEDED"
    stale_allowed = True

    def __init__(self) -> None:
        super().__init__("the deadline passed before there was an answer")


class ControlPlaneUnavailable(BrokerError):
    """The control plane does not answer, and the call needs it: for another block of a quota, or for what it holds."""

    code = "UNAVAILABLE"
    reason = "CONTROL_PLANE_UNAVAILABLE"
    retry_after_s = 1.0

    def __init__(self) -> None:
        super().__init__("the control plane does not answer; ask again")


class BaseUnusable(BrokerError):
    """A record base cannot be read: nothing was loaded, or what was is damaged or was declared otherwise."""

    code = "UNAVAILABLE"
    reason = "RECORD_BASE_UNUSABLE"

    def __init__(self, base: str, why: str) -> None:
        super().__init__("the record base cannot be read")  # what is wrong with it is for operators
        self.why = f"record base `{base}`: {why}"


class Draining(BrokerError):
    """The process takes no new calls, for it is about to end. Asking again reaches its successor or another broker."""

    code = "UNAVAILABLE"
    reason = "DRAINING"
    retry_after_s = 1.0

    def __init__(self) -> None:
        super().__init__("this broker is stopping; ask again")


class NotAvailable(BrokerError):
    """The contract has this method; the capability behind it is not part of this version."""

    code = "UNIMPLEMENTED"
    reason = "METHOD_NOT_AVAILABLE"

    def __init__(self, method: str) -> None:
        super().__init__(f"{method} is part of the contract but not of this version of the broker")
        self.method = method

    def metadata(self) -> dict[str, str]:
        """Name the method."""
        return {"method": self.method}


class StartupError(BrokerError):
    """The process cannot do what it was started for. The text says what to do, in one line."""

    exit_code: ClassVar[int] = 1


class ConfigurationError(StartupError):
    """The configuration is refused."""

    exit_code = 3


class PortTaken(StartupError):
    """An address to listen on is in use or not allowed."""

    exit_code = 4


class DirectoryUnusable(StartupError):
    """A directory is missing, read-only or owned by somebody else."""

    exit_code = 5


class SecretMissing(StartupError):
    """A key or secret file is missing or unreadable."""

    exit_code = 6


class BaseBusy(StartupError):
    """Another process is writing the record base."""

    exit_code = 16


class RecordsRefused(StartupError):
    """What was to be loaded into a record base, or a base that was checked, is not right."""

    exit_code = 17

    def __init__(self, text: str, problems: Sequence[tuple[str, int, str, str]] = ()) -> None:
        super().__init__(text)
        self.problems = problems  # file, row, field, rule


class TablesRefused(StartupError):
    """Tables that were to be linked cannot be: not readable as tables, empty, or without columns to link by."""

    exit_code = 18


class AlreadyRunning(StartupError):
    """Another instance holds the data directory."""

    exit_code = 7


class SnapshotRefused(StartupError):
    """The file of the policy snapshot is missing, damaged or too old, and there is no control plane to compile another from."""

    exit_code = 13


class RevisionWentBack(StartupError):
    """The control plane's newest revision is older than the snapshot that is or was in force."""

    exit_code = 14

    def __init__(self, version: int, in_force: int, file: str) -> None:
        super().__init__(
            f"control.url: is at revision {version}, older than the snapshot {in_force}; "
            f"if it was restored on purpose, stop the broker, remove {file} and start it again"
        )


class CatalogueRefused(StartupError):
    """A catalogue directory has errors; all of them are listed and nothing was changed."""

    exit_code = 8

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__(f"{len(problems)} error(s) in the catalogue; nothing was changed")
        self.problems = problems


class BrokerUnreachable(StartupError):
    """A command needs a running broker and there is none at the address."""

    exit_code = 9
