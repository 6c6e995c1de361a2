"""Signing dialects as data: what a provider wants of a request, what is signed and how, and what its answers mean. Pure.

Templates may use ``{rid}`` (requester id), ``{sid}`` (service id), ``{rtime}`` (ms since the epoch), ``{nonce}`` (32 hex
digits), ``{secret}`` (a plain digest signs it, a bearer token is it) and, in headers and query, ``{sign}``. A new dialect is a
new entry of `DIALECTS` and no code. What must not go in here: keeping secrets (`secret.py`), sending (`http.py`), and judging
answers (`envelope.py`), which is done by what a dialect says here.
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace

import msgspec
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.hmac import HMAC

from broker.model.catalogue import Envelope, HttpEndpoint, HttpOperation

_MINUTE_MS = 60_000
_NO_ENVELOPE = Envelope()


class SecretSource(enum.Enum):
    """Where the secret comes from that a dialect signs with."""

    NONE = "none"
    APP_KEY = "app_key"  # the app key itself
    SERVICE = "service"  # the provider's secret service, which is asked under the app key


@dataclass(frozen=True)
class Facts:
    """What a signature may speak of; one request has one value of it."""

    rid: str
    sid: str
    rtime: int  # ms since the epoch
    nonce: str


@dataclass(frozen=True)
class Given:
    """Where an answer of a secret service holds a secret; paths as in an envelope."""

    value: str
    ends: str = ""  # its end, ms since the epoch; "": the answer does not say, it holds until it is refused


@dataclass(frozen=True)
class SecretStep:
    """One question to a secret service, signed like any other, under the app key or the secret of the step before."""

    path: str  # the key of the endpoint that says where
    secret: Given
    parent: Given | None = None  # where the answer also replaces the secret that it was asked under
    code: str = ""  # path of the business code; "" if there is none
    success: tuple[str, ...] = ()
    opening: str = "plain"  # how the secrets are locked under the one that the question was signed with (`secret.OPENINGS`)


@dataclass(frozen=True)
class Dialect:
    """How requests to a provider are signed, and what holds of every interface there."""

    headers: Mapping[str, str] = field(default_factory=dict)
    string_to_sign: str = ""
    digest: str = "hmac-sha256"
    encoding: str = "base64"
    secret: SecretSource = SecretSource.NONE
    query: Mapping[str, str] = field(default_factory=dict)  # like the headers
    steps: tuple[SecretStep, ...] = ()  # to the secret, where its source is SERVICE
    skew_ms: int = 10 * _MINUTE_MS  # how far our clock may be off the provider's
    envelope: Envelope = _NO_ENVELOPE  # success rule and error map of interfaces that name no business code of their own
    method: str = ""  # the one that is allowed; "": any
    path_prefix: str = "/"
    lower_case: bool = False  # whether parameters must have lower-case names

    def speaks_of(self, placeholder: str) -> bool:
        """Whether any template uses a placeholder."""
        texts = (*self.headers.values(), *self.query.values(), self.string_to_sign)
        return any(f"{{{placeholder}}}" in text for text in texts)

    @property
    def shows_secret(self) -> bool:
        """Whether the secret itself is sent, so that it must be fit for a header."""
        return any("{secret}" in text for text in (*self.headers.values(), *self.query.values()))


_GJGXJHPT = Dialect(  # the national data exchange platform
    headers={
        "gjgxjhpt_rid": "{rid}",
        "gjgxjhpt_sid": "{sid}",
        "gjgxjhpt_rtime": "{rtime}",
        "gjgxjhpt_sign": "{sign}",
    },
    string_to_sign="{sid}{rid}{rtime}",
    secret=SecretSource.SERVICE,
    steps=(
        SecretStep(
            "secret_path", Given("data.secret", "data.secretEndTime"), code="code", success=("0",), opening="aes-128-ecb"
        ),
    ),
)
_GATEWAY = Dialect(  # service gateways of provinces; the token is the secret that is signed with
    headers={"gateway_appid": "{rid}", "gateway_rtime": "{rtime}", "gateway_sig": "{sign}"},
    string_to_sign="{rid}{rtime}",
    secret=SecretSource.SERVICE,
    steps=(SecretStep("secret_path", Given("body.access_token"), opening="aes-128-cbc-sha1prng"),),
)
_REFRESH = Given("datas.refreshSecret", "datas.refreshSecretEndTime")
_REQUEST = Given("datas.requestSecret", "datas.requestSecretEndTime")

DIALECTS: Mapping[str, Dialect] = {
    "plain": Dialect(),
    "bearer": Dialect(headers={"Authorization": "Bearer {secret}"}, secret=SecretSource.APP_KEY),  # RFC 6750 §2.1
    "gjgxjhpt": _GJGXJHPT,
    "gjzwfwpt": Dialect(  # the national government service platform, v0.55
        headers={
            "gjzwfwpt_rid": "{rid}",
            "gjzwfwpt_sid": "{sid}",
            "gjzwfwpt_rtime": "{rtime}",
            "gjzwfwpt_sign": "{sign}",
        },
        string_to_sign="{sid}{rid}{rtime}",
        secret=SecretSource.APP_KEY,
        # Of the four classes of its codes (catalog-, res-, api-, db-) only one is not about the question.
        envelope=Envelope(record="data", code="code", success=("200",), faults={"300": "refused", "db-*": "unavailable"}),
        method="POST",
        path_prefix="/sysapi/",
        lower_case=True,
    ),
    "gateway-token": _GATEWAY,
    "gateway-token-file": replace(_GATEWAY, secret=SecretSource.APP_KEY, steps=()),
    "zhejiang": Dialect(
        query={"appKey": "{rid}", "sign": "{sign}", "requestTime": "{rtime}"},
        string_to_sign="{rid}{secret}{rtime}",
        digest="md5",
        encoding="hex",
        secret=SecretSource.SERVICE,
        steps=(
            SecretStep("secret_path", _REFRESH, code="code", success=("00",)),
            SecretStep("renewal_path", _REQUEST, parent=_REFRESH, code="code", success=("00",)),
        ),
        envelope=Envelope(record="datas", code="code", success=("00",)),
    ),
    "shandong": Dialect(
        headers={
            "X-Client-Id": "{rid}",
            "X-Timestamp": "{rtime}",
            "X-Nonce": "{nonce}",
            "X-Signature": "{sign}",
        },
        string_to_sign="{rid}{rtime}{nonce}",
        secret=SecretSource.APP_KEY,
    ),
}


def _hmac_sm3(secret: bytes, text: bytes) -> bytes:
    """HMAC (RFC 2104) over SM3 (GB/T 32905). Raises `UnsupportedAlgorithm` where the OpenSSL below was built without SM3."""
    code = HMAC(secret, hashes.SM3())
    code.update(text)
    return code.finalize()


# The weak ones are what deployed providers compare with; they protect nothing here that TLS does not.
DIGESTS: Mapping[str, Callable[[bytes, bytes], bytes]] = {
    "hmac-sha256": lambda secret, text: hmac.digest(secret, text, "sha256"),
    "hmac-sm3": _hmac_sm3,
    "sha1": lambda _, text: hashlib.sha1(text, usedforsecurity=False).digest(),
    "md5": lambda _, text: hashlib.md5(text, usedforsecurity=False).digest(),
}
KEYED = frozenset({"hmac-sha256", "hmac-sm3"})  # one may stand for another; a plain digest signs the secret itself
ENCODINGS: Mapping[str, Callable[[bytes], str]] = {
    "base64": lambda raw: base64.b64encode(raw).decode("ascii"),
    "hex": bytes.hex,
}


@dataclass(frozen=True)
class Signed:
    """What a signature adds to a request."""

    headers: dict[str, str] = field(repr=False)
    query: dict[str, str] = field(repr=False)


def dialect_of(endpoint: HttpEndpoint) -> Dialect:
    """Return the dialect of an endpoint that was checked, with the endpoint's own digest if it names one."""
    dialect = DIALECTS[endpoint.dialect]
    return replace(dialect, digest=endpoint.digest) if endpoint.digest else dialect


def sign(dialect: Dialect, facts: Facts, secret: bytes) -> Signed:
    """Return what one request gets."""
    values = {**asdict(facts), "secret": secret.decode("utf-8", "surrogateescape")}
    if dialect.speaks_of("sign"):
        text = dialect.string_to_sign.format(**values)
        digest = DIGESTS[dialect.digest](secret, text.encode("utf-8", "surrogateescape"))
        values["sign"] = ENCODINGS[dialect.encoding](digest)
    return Signed(_filled(dialect.headers, values), _filled(dialect.query, values))


def _filled(templates: Mapping[str, str], values: Mapping[str, object]) -> dict[str, str]:
    return {name: template.format(**values) for name, template in templates.items()}


def envelope_of(dialect: Dialect, operation: HttpOperation) -> Envelope:
    """Return how an interface's answers are judged: by its own success rule and error map, else by its dialect's."""
    own = operation.envelope
    if own.code or not dialect.envelope.code:
        return own
    return msgspec.structs.replace(dialect.envelope, record=own.record or dialect.envelope.record)


def is_off(dialect: Dialect, theirs_ms: float | None, now_ms: int) -> bool:
    """Whether our clock is further from the provider's (None: it does not say) than its dialect bears.

    No signature can then be right, whatever the secret.
    """
    return theirs_ms is not None and dialect.speaks_of("rtime") and abs(theirs_ms - now_ms) > dialect.skew_ms


# --- for the catalogue's validation -------------------------------------------------------------------------------------


def check_endpoint(endpoint: HttpEndpoint, operation: HttpOperation) -> list[str]:
    """Return what is missing or unknown in the settings of a dialect, for the catalogue's validation."""
    dialect = DIALECTS.get(endpoint.dialect)
    if dialect is None:
        return [f"dialect: `{endpoint.dialect}` is none of {', '.join(sorted(DIALECTS))}"]
    return [
        *_missing(dialect, endpoint, operation),
        *_wrong_digest(dialect, endpoint),
        *_wrong_form(dialect, endpoint, operation),
    ]


def _missing(dialect: Dialect, endpoint: HttpEndpoint, operation: HttpOperation) -> Iterator[str]:
    needed = {
        "requester_id": (dialect.speaks_of("rid"), operation.requester_id or endpoint.requester_id),
        "service_id": (dialect.speaks_of("sid"), operation.service_id),
        "app_key_file": (dialect.secret is not SecretSource.NONE, operation.app_key_file or endpoint.app_key_file),
    }
    needed |= {step.path: (True, getattr(endpoint, step.path)) for step in dialect.steps}
    for name, (need, given) in needed.items():
        if need and not given:
            yield f"{name}: needed by dialect `{endpoint.dialect}`"


def _wrong_digest(dialect: Dialect, endpoint: HttpEndpoint) -> Iterator[str]:
    if endpoint.digest and not (dialect.speaks_of("sign") and {dialect.digest, endpoint.digest} <= KEYED):
        yield f"digest: dialect `{endpoint.dialect}` cannot be signed with `{endpoint.digest}`"
    elif not digest_is_here(endpoint.digest or dialect.digest):
        yield f"digest: `{endpoint.digest or dialect.digest}` is not in the cryptographic library of this installation"


def digest_is_here(name: str) -> bool:
    """Whether the libraries below can compute a digest: some systems leave SM3 out, and some forbid MD5 or SHA-1."""
    try:
        DIGESTS[name](b"k", b"")
    except (UnsupportedAlgorithm, ValueError):
        return False
    return True


def _wrong_form(dialect: Dialect, endpoint: HttpEndpoint, operation: HttpOperation) -> Iterator[str]:
    if dialect.method not in ("", operation.method):
        yield f"operation.method: dialect `{endpoint.dialect}` is asked by {dialect.method}"
    if not operation.path.startswith(dialect.path_prefix):
        yield f"operation.path: dialect `{endpoint.dialect}` is asked under `{dialect.path_prefix}`"
    for name in operation.parameters:
        if dialect.lower_case and name != name.lower():
            yield f"operation.parameters.{name}: dialect `{endpoint.dialect}` has names in lower case"
        if name in dialect.query:
            yield f"operation.parameters.{name}: is what dialect `{endpoint.dialect}` signs with"
