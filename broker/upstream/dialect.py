"""Signing dialects as data: which headers a provider wants, what is signed, how, and under which secret. Pure.

Templates may use ``{rid}`` (requester id), ``{sid}`` (service id), ``{rtime}`` (ms since the epoch), ``{nonce}`` (32 hex
digits) and, in headers, ``{sign}``; a dialect with a plain digest puts ``{secret}`` into what is signed. A new dialect is a
new entry of `DIALECTS` and no code. What must not go in here: keeping secrets (`secret.py`) and sending (`http.py`).
"""

from __future__ import annotations

import base64
import enum
import hashlib
import hmac
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

from broker.model.catalogue import HttpEndpoint, HttpOperation


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
class Dialect:
    """How requests to a provider are signed."""

    headers: Mapping[str, str] = field(default_factory=dict)
    string_to_sign: str = ""
    digest: str = "hmac-sha256"
    encoding: str = "base64"
    secret: SecretSource = SecretSource.NONE


DIALECTS: Mapping[str, Dialect] = {
    "plain": Dialect(),
    "gjgxjhpt": Dialect(  # the national data exchange platform
        headers={
            "gjgxjhpt_rid": "{rid}",
            "gjgxjhpt_sid": "{sid}",
            "gjgxjhpt_rtime": "{rtime}",
            "gjgxjhpt_sign": "{sign}",
        },
        string_to_sign="{sid}{rid}{rtime}",
        secret=SecretSource.SERVICE,
    ),
}

# The weak ones are what deployed providers compare with; they protect nothing here that TLS does not.
DIGESTS: Mapping[str, Callable[[bytes, bytes], bytes]] = {
    "hmac-sha256": lambda secret, text: hmac.digest(secret, text, "sha256"),
    "sha1": lambda _, text: hashlib.sha1(text, usedforsecurity=False).digest(),
    "md5": lambda _, text: hashlib.md5(text, usedforsecurity=False).digest(),
}
ENCODINGS: Mapping[str, Callable[[bytes], str]] = {
    "base64": lambda raw: base64.b64encode(raw).decode("ascii"),
    "hex": bytes.hex,
}


def sign(dialect: Dialect, facts: Facts, secret: bytes) -> dict[str, str]:
    """Return the headers of one request."""
    values = asdict(facts)
    text = dialect.string_to_sign.format(**values, secret=secret.decode("utf-8", "surrogateescape"))
    digest = DIGESTS[dialect.digest](secret, text.encode("utf-8", "surrogateescape"))
    signature = ENCODINGS[dialect.encoding](digest)
    return {name: template.format(**values, sign=signature) for name, template in dialect.headers.items()}


def check_endpoint(endpoint: HttpEndpoint, operation: HttpOperation) -> list[str]:
    """Return what is missing or unknown in the settings of a dialect, for the catalogue's validation."""
    dialect = DIALECTS.get(endpoint.dialect)
    if dialect is None:
        return [f"dialect: `{endpoint.dialect}` is none of {', '.join(sorted(DIALECTS))}"]
    used = "".join(dialect.headers.values()) + dialect.string_to_sign
    needed = {
        "requester_id": ("{rid}" in used, endpoint.requester_id),
        "service_id": ("{sid}" in used, operation.service_id),
        "app_key_file": (dialect.secret is not SecretSource.NONE, endpoint.app_key_file),
        "secret_path": (dialect.secret is SecretSource.SERVICE, endpoint.secret_path),
    }
    return [f"{name}: needed by dialect `{endpoint.dialect}`" for name, (need, given) in needed.items() if need and not given]
