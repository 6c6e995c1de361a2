"""Application tokens: short-lived JWTs that a consumer signs with its own Ed25519 key; the catalogue has the public half.

Any JWT library can make them: header {alg: EdDSA, typ: JWT, kid}, claims {iss: consumer, aud: broker, iat, exp}, at most five
minutes between iat and exp. What must not go in here: verification (that is the broker's).
"""

from __future__ import annotations

import base64
import os
import time
from collections.abc import Callable
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, load_pem_private_key

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


def issue_token(
    consumer: str,
    key: Ed25519PrivateKey,
    *,
    key_id: str = DEFAULT_KEY_ID,
    audience: str = DEFAULT_AUDIENCE,
    now_s: float,
    life_s: int = DEFAULT_LIFE_S,
) -> str:
    """Make a token. `now_s` is seconds since the epoch, UTC."""
    claims = {"iss": consumer, "aud": audience, "iat": int(now_s), "exp": int(now_s) + life_s}
    return jwt.encode(claims, key, algorithm="EdDSA", headers={"kid": key_id})


class TokenSource:
    """Gives a token that is good for another minute at least, making a new one when it must. Safe between threads."""

    def __init__(
        self,
        consumer: str,
        key_file: str | Path,
        *,
        key_id: str = DEFAULT_KEY_ID,
        audience: str = DEFAULT_AUDIENCE,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._consumer = consumer
        self._key = load_key(Path(key_file))
        self._key_id = key_id
        self._audience = audience
        self._clock = clock
        self._current = ("", 0.0)  # token and when to make the next one; replaced as one value

    def __repr__(self) -> str:
        return f"<TokenSource {self._consumer}>"

    def __call__(self) -> str:
        """Return a token."""
        token, renew_at = self._current
        now_s = self._clock()
        if now_s >= renew_at:
            token = issue_token(self._consumer, self._key, key_id=self._key_id, audience=self._audience, now_s=now_s)
            self._current = (token, now_s + DEFAULT_LIFE_S - 60)
        return token
