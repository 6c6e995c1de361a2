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
    │   ├── ProviderNotAsked       UNAVAILABLE          the broker holds questions back, and says how long
    │   │   ├── ProviderBreakerOpen    after too many failures
    │   │   └── ProviderHeldOff        because the provider has said so
    │   ├── ProviderTimeout        DEADLINE_EXCEEDED    no answer in time
    │   ├── ProviderOverloaded     RESOURCE_EXHAUSTED   the provider's own quota or rate
    │   ├── ProviderRefused        FAILED_PRECONDITION  a business error of the provider, mapped by the interface
    │   └── ProviderNonsense       INTERNAL             not decodable, against the schema, or about another subject
    ├── DeadlineExceeded       DEADLINE_EXCEEDED    the call's own deadline passed inside the broker
    ├── ControlPlaneUnavailable UNAVAILABLE         a quota cannot be counted, or a grant decided on, now
    ├── BaseUnusable           UNAVAILABLE          a record base is not loaded, or damaged
    ├── AuditUnavailable       UNAVAILABLE          the audit log cannot be written, so nothing may leave
    ├── AuditOverloaded        RESOURCE_EXHAUSTED   more is to be recorded than the disk takes
    ├── PolicyChanged          UNAVAILABLE          what was about to be told is not to be told any more
    ├── Draining               UNAVAILABLE          this process is about to end; another one will answer
    ├── NotAvailable           UNIMPLEMENTED        the contract has it, this version does not
    └── StartupError           never leaves by RPC: one line on standard error and an exit code of its own

Texts never hold values that came from outside, only names of fields and codes. What must not go in here: anything that
decides, and anything of gRPC's library (codes are names; `services/status.py` turns them into a `google.rpc.Status`).
"""

from broker.errors.calls import (
    AuditOverloaded as AuditOverloaded,
)
from broker.errors.calls import (
    AuditUnavailable as AuditUnavailable,
)
from broker.errors.calls import (
    BaseUnusable as BaseUnusable,
)
from broker.errors.calls import (
    BrokerError as BrokerError,
)
from broker.errors.calls import (
    CallerError as CallerError,
)
from broker.errors.calls import (
    ControlPlaneUnavailable as ControlPlaneUnavailable,
)
from broker.errors.calls import (
    DeadlineExceeded as DeadlineExceeded,
)
from broker.errors.calls import (
    Draining as Draining,
)
from broker.errors.calls import (
    InvalidRequest as InvalidRequest,
)
from broker.errors.calls import (
    LimitExceeded as LimitExceeded,
)
from broker.errors.calls import (
    NotAllowed as NotAllowed,
)
from broker.errors.calls import (
    NotAvailable as NotAvailable,
)
from broker.errors.calls import (
    NotFound as NotFound,
)
from broker.errors.calls import (
    NotGranted as NotGranted,
)
from broker.errors.calls import (
    Origin as Origin,
)
from broker.errors.calls import (
    OutcomeUnknown as OutcomeUnknown,
)
from broker.errors.calls import (
    OutsideHours as OutsideHours,
)
from broker.errors.calls import (
    PolicyChanged as PolicyChanged,
)
from broker.errors.calls import (
    ProviderBreakerOpen as ProviderBreakerOpen,
)
from broker.errors.calls import (
    ProviderError as ProviderError,
)
from broker.errors.calls import (
    ProviderHeldOff as ProviderHeldOff,
)
from broker.errors.calls import (
    ProviderNonsense as ProviderNonsense,
)
from broker.errors.calls import (
    ProviderNotAsked as ProviderNotAsked,
)
from broker.errors.calls import (
    ProviderOverloaded as ProviderOverloaded,
)
from broker.errors.calls import (
    ProviderRefused as ProviderRefused,
)
from broker.errors.calls import (
    ProviderTimeout as ProviderTimeout,
)
from broker.errors.calls import (
    ProviderUnavailable as ProviderUnavailable,
)
from broker.errors.calls import (
    QuotaExceeded as QuotaExceeded,
)
from broker.errors.calls import (
    RateExceeded as RateExceeded,
)
from broker.errors.calls import (
    Unauthenticated as Unauthenticated,
)
from broker.errors.calls import (
    VerdictOnly as VerdictOnly,
)
from broker.errors.calls import (
    Violation as Violation,
)
from broker.errors.calls import (
    WrongState as WrongState,
)
from broker.errors.startup import (
    AlreadyRunning as AlreadyRunning,
)
from broker.errors.startup import (
    AuditRefused as AuditRefused,
)
from broker.errors.startup import (
    AuditRolledBack as AuditRolledBack,
)
from broker.errors.startup import (
    BaseBusy as BaseBusy,
)
from broker.errors.startup import (
    BrokerUnreachable as BrokerUnreachable,
)
from broker.errors.startup import (
    CatalogueRefused as CatalogueRefused,
)
from broker.errors.startup import (
    ConfigurationError as ConfigurationError,
)
from broker.errors.startup import (
    DirectoryUnusable as DirectoryUnusable,
)
from broker.errors.startup import (
    PortTaken as PortTaken,
)
from broker.errors.startup import (
    RecordsRefused as RecordsRefused,
)
from broker.errors.startup import (
    RevisionWentBack as RevisionWentBack,
)
from broker.errors.startup import (
    SecretMissing as SecretMissing,
)
from broker.errors.startup import (
    SnapshotRefused as SnapshotRefused,
)
from broker.errors.startup import (
    StartupError as StartupError,
)
from broker.errors.startup import (
    TablesRefused as TablesRefused,
)
