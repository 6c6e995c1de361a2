"""Failures of calls, by whose fault they are. What must not go in here: why a process cannot start (startup.py)."""

from __future__ import annotations

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
    is_put_down: bool = False  # in the audit log, by the path of a call

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
    """No connection, a connection lost, or the provider's server said 5xx.

    `before_answer`: the connection failed before any of an answer came, so that asking again may help.
    """

    code = "UNAVAILABLE"
    reason = "PROVIDER_UNAVAILABLE"
    text = "the provider cannot be reached"
    before_answer = False


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


class ProviderNotAsked(ProviderError):
    """The broker has not asked, for what the provider did before: `after` is the reason of its last failure."""

    code = "UNAVAILABLE"

    def __init__(self, provider: str, *, after: str, retry_after_s: float) -> None:
        super().__init__(provider, retry_after_s=retry_after_s)
        self.after = after

    def metadata(self) -> dict[str, str]:
        """Add what failed before."""
        return {**super().metadata(), "after": self.after}


class ProviderBreakerOpen(ProviderNotAsked):
    """Too many questions failed, or took too long; now and then one finds out whether it is over."""

    reason = "PROVIDER_BREAKER_OPEN"
    text = "the provider has failed too often and is not asked for a while"


class ProviderHeldOff(ProviderNotAsked):
    """The provider has said for how long it is not to be asked (Retry-After)."""

    reason = "PROVIDER_RETRY_AFTER"
    text = "the provider has asked to be left alone for a while"


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


class AuditUnavailable(BrokerError):
    """The audit log cannot be written. What is not recorded does not leave, cached or not; service returns with the disk."""

    code = "UNAVAILABLE"
    reason = "AUDIT_UNAVAILABLE"
    retry_after_s = 1.0

    def __init__(self) -> None:
        super().__init__("the audit log cannot be written; ask again")


class AuditOverloaded(BrokerError):
    """More records wait to be written than there is room for: the disk is slower than those who ask."""

    code = "RESOURCE_EXHAUSTED"
    reason = "AUDIT_OVERLOADED"
    retry_after_s = 1.0

    def __init__(self) -> None:
        super().__init__("too many records wait to be written to the audit log; ask again")


class PolicyChanged(BrokerError):
    """What was about to be told was decided by a policy that is not in force any more, and the new one gives something else."""

    code = "UNAVAILABLE"
    reason = "POLICY_CHANGED"
    retry_after_s = 0.1

    def __init__(self) -> None:
        super().__init__("the policy has changed meanwhile; ask again")


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
