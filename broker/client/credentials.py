"""Application tokens: short-lived JWTs that a consumer signs with its own Ed25519 key; the catalogue has the public half.

Any JWT library can make them: header {alg: EdDSA, typ: JWT, kid}, claims {iss: consumer, aud: broker, iat, exp}, at most five
minutes between iat and exp. On a connection with the consumer's client certificate a token must be bound to that certificate
by a further claim, {cnf: {"x5t#S256": thumbprint}} (RFC 8705 §3.1). What must not go in here: verification (the broker's).
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key
from cryptography.x509 import load_pem_x509_certificate

DEFAULT_AUDIENCE = "shared-data-broker"
DEFAULT_KEY_ID = "k1"
DEFAULT_LIFE_S = 300


def generate_key(file: Path) -> str:
    """Make a key, write it to a new file (PEM, mode 0400), return the public half as base64 for the catalogue.

    Raises:
        FileExistsError: the file exists; a key is never overwritten.
    """
    key = Ed25519PrivateKey.generate()
    descriptor = os.open(file, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o400)
    with os.fdopen(descriptor, "wb") as out:
        out.write(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    return public_half(key)


def public_half(key: Ed25519PrivateKey) -> str:
    """Return the public key as base64, as the catalogue has it."""
    return base64.b64encode(key.public_key().public_bytes_raw()).decode()


def load_key(file: Path) -> Ed25519PrivateKey:
    """Read a key.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not hold an Ed25519 private key in PEM.
    """
    key = load_pem_private_key(file.read_bytes(), password=None)
    if not isinstance(key, Ed25519PrivateKey):
        raise ValueError("not an Ed25519 private key")
    return key


def thumbprint(certificate_file: Path) -> str:
    """Return what a token says of the certificate that it is bound to: SHA-256 of the DER form, base64url.

    Raises:
        OSError: the file cannot be read.
        ValueError: it does not begin with a certificate in PEM.
    """
    digest = load_pem_x509_certificate(certificate_file.read_bytes()).fingerprint(SHA256())
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def issue_token(
    consumer: str,
    key: Ed25519PrivateKey,
    *,
    key_id: str = DEFAULT_KEY_ID,
    audience: str = DEFAULT_AUDIENCE,
    now_s: float,
    life_s: int = DEFAULT_LIFE_S,
    bound_to: str | None = None,
) -> str:
    """Make a token. `now_s` is seconds since the epoch, UTC; `bound_to` the thumbprint of a client certificate."""
    claims: dict[str, object] = {"iss": consumer, "aud": audience, "iat": int(now_s), "exp": int(now_s) + life_s}
    if bound_to is not None:
        claims["cnf"] = {"x5t#S256": bound_to}
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": key_id})


class TokenSource:
    """Gives a token that is good for another minute at least, making a new one when it must. Safe between threads.

    With a certificate file, tokens are bound to that certificate, which the channel is then to show.
    """

    def __init__(
        self,
        consumer: str,
        key_file: str | Path,
        *,
        key_id: str = DEFAULT_KEY_ID,
        audience: str = DEFAULT_AUDIENCE,
        certificate_file: str | Path | None = None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._consumer = consumer
        self._key = load_key(Path(key_file))
        self._key_id = key_id
        self._audience = audience
        self._bound_to = thumbprint(Path(certificate_file)) if certificate_file else None
        self._clock = clock
        self._current = ("", 0.0)  # token and when to make the next one; replaced as one value

    def __repr__(self) -> str:
        return f"<TokenSource {self._consumer}>"

    def __call__(self) -> str:
        """Return a token."""
        token, renew_at = self._current
        now_s = self._clock()
        if now_s >= renew_at:
            token = issue_token(
                self._consumer,
                self._key,
                key_id=self._key_id,
                audience=self._audience,
                now_s=now_s,
                bound_to=self._bound_to,
            )
            self._current = (token, now_s + DEFAULT_LIFE_S - 60)
        return token
