"""Step 1 of a call: an application token becomes a consumer, or the call is refused with one constant text.

A token is a JWT (RFC 7519) signed with Ed25519 (`EdDSA`, RFC 8037) by the consumer's own key, whose public half is in the
catalogue; the broker holds no key that could make one. Its header is exactly {alg, typ, kid}, its life at most five minutes.
The key record binds kid to consumer and algorithm, so the header chooses nothing. Verified tokens are remembered by their
SHA-256, for verification costs a hundred times a look-up. A key taken out of the catalogue ends its tokens with the next
snapshot, remembered or not.

What must not go in here: grants (authorise.py), and any hint to the caller about what was wrong with a token.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker.config import Identity
from broker.errors import Unauthenticated
from broker.model.call import Peer, Times
from broker.model.catalogue import Consumer
from broker.model.snapshot import Snapshot

ALGORITHM = "EdDSA"


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token says, all of it required but `jti`. Times are seconds since the epoch, UTC."""

    iss: str  # consumer
    aud: str  # the broker
    iat: int
    exp: int
    jti: str = ""


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: Literal["JWT"]


class _Verified(msgspec.Struct, frozen=True):
    claims: Claims
    kid: str
    public_key: str


class Identifier:
    """Verifies tokens and remembers the verified ones, oldest forgotten first."""

    def __init__(self, settings: Identity, max_token_bytes: int) -> None:
        self._settings = settings
        self._max_token_bytes = max_token_bytes
        self._remembered: dict[bytes, _Verified] = {}

    def identify(self, peer: Peer, snapshot: Snapshot, times: Times) -> Consumer:
        """Return the consumer that a token stands for.

        Raises:
            Unauthenticated: there is no token, or it is malformed, altered, expired, not yet valid, too long-lived, meant
                for another broker, or signed by a key that is not the consumer's now.
        """
        token = peer.token
        if not token or len(token) > self._max_token_bytes:
            raise Unauthenticated
        digest = hashlib.sha256(token.encode()).digest()
        verified = self._remembered.get(digest) or self._verify(token, snapshot)
        self._check_still_good(verified, snapshot, times)
        self._remember(digest, verified)
        return snapshot.consumers[verified.claims.iss]

    def _verify(self, token: str, snapshot: Snapshot) -> _Verified:
        try:
            header, claims = _parse(token)
            public_key = snapshot.public_keys[claims.iss, header.kid]
            jwt.decode(
                token,
                _load_public_key(public_key),
                algorithms=[ALGORITHM],
                audience=self._settings.audience,
                options={
                    "verify_exp": False,
                    "verify_iat": False,
                    "verify_nbf": False,
                    "require": ["exp", "iat", "iss", "aud"],
                },
            )
        except (ValueError, KeyError, RecursionError, jwt.PyJWTError, msgspec.MsgspecError) as error:
            raise Unauthenticated from error
        if not 0 < claims.exp - claims.iat <= self._settings.max_token_life_s:
            raise Unauthenticated
        return _Verified(claims, header.kid, public_key)

    def _check_still_good(self, verified: _Verified, snapshot: Snapshot, times: Times) -> None:
        """Refuse by the clock and by the snapshot in force: what is remembered may have ended since."""
        skew_ms = self._settings.clock_skew_s * 1000
        claims = verified.claims
        begun = claims.iat * 1000 - skew_ms <= times.earliest_ms
        in_time = begun and times.latest_ms < claims.exp * 1000 + skew_ms
        if not in_time or snapshot.public_keys.get((claims.iss, verified.kid)) != verified.public_key:
            raise Unauthenticated

    def _remember(self, digest: bytes, verified: _Verified) -> None:
        if digest not in self._remembered:
            if len(self._remembered) >= self._settings.remembered_tokens:
                del self._remembered[next(iter(self._remembered))]
            self._remembered[digest] = verified


def _parse(token: str) -> tuple[_Header, Claims]:
    """Read header and claims strictly: three canonical base64url parts, no duplicate and no unknown names.

    JWT libraries ignore the unused bits of the last character, so several texts would pass as one token.
    """
    header, claims, signature = (_canonical_base64url(part) for part in token.split("."))
    if len(signature) != 64:
        raise ValueError("an Ed25519 signature has 64 bytes")
    return msgspec.convert(_strict_json(header), _Header), msgspec.convert(_strict_json(claims), Claims)


def _canonical_base64url(part: str) -> bytes:
    data = base64.b64decode(part + "=" * (-len(part) % 4), altchars=b"-_", validate=True)
    if base64.urlsafe_b64encode(data).rstrip(b"=").decode() != part:
        raise binascii.Error("not canonical")
    return data


def _strict_json(data: bytes) -> Any:
    return json.loads(data, object_pairs_hook=_without_duplicates)


def _without_duplicates(pairs: list[tuple[str, Any]]) -> Mapping[str, Any]:
    table = dict(pairs)
    if len(table) != len(pairs):
        raise ValueError("a name stands twice")
    return table


@lru_cache(maxsize=10_000)
def _load_public_key(encoded: str) -> Ed25519PublicKey:
    return Ed25519PublicKey.from_public_bytes(base64.b64decode(encoded))
