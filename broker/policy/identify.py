"""Step 1 of a call: a token, a client certificate, or both become a consumer, or the call is refused with one constant text.

A token is a JWT (RFC 7519) signed with Ed25519 (`EdDSA`, RFC 8037) by the consumer's own key, whose public half is in the
catalogue; the broker holds no key that could make one. Its header is exactly {alg, typ, kid}, its life at most five minutes.
The key record binds kid to consumer and algorithm, so the header chooses nothing.

A certificate stands for the consumer whose catalogue entry has one of its names (certificates.py judges whether it is good; one
that is not refuses the call whatever else is shown). Where a certificate stands for a consumer and a token is shown too, both
must be of the same consumer and the token must name the certificate (`cnf`, RFC 8705 §3.1): a token taken from its owner is of
no use on another connection. A certificate that stands for nobody, such as a gateway's, leaves the token to decide.

What was verified is remembered by the SHA-256 of all that was shown (`ext/remembered.pyx`), for verification costs a hundred
times a look-up, and judged again by the times and by the credentials in force at each call. What must not go in here: grants
(authorise.py), and any hint to the caller about what was wrong.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import struct
import time
from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import jwt
import msgspec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from broker._native.remembered import Remembered
from broker.config import Identity
from broker.errors import Unauthenticated
from broker.model.call import Peer, Times
from broker.model.catalogue import Consumer
from broker.model.snapshot import Snapshot, credential_of
from broker.policy.certificates import MALFORMED, NOBODY, Certificate, Span, Trust, read_certificate

ALGORITHM = "EdDSA"
_LAST_SECOND = 1 << 40  # beyond it, milliseconds are no longer numbers of 64 bits
_NOTE = struct.Struct("<Q16sqq")
_ALWAYS = Span(-(1 << 62), 1 << 62)


class Confirmation(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Which certificate a token is bound to (RFC 7800, RFC 8705)."""

    thumbprint: str = msgspec.field(name="x5t#S256")


class Claims(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What a token says, all of it required but `jti` and `cnf`. Times are seconds since the epoch, UTC."""

    iss: str  # consumer
    aud: str  # the broker
    iat: int
    exp: int
    jti: str = ""
    cnf: Confirmation | None = None


class _Header(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    alg: str
    kid: str
    typ: Literal["JWT"]


class _Token(NamedTuple):
    """A token whose signature is right."""

    claims: Claims
    key_id: str
    public_key: str
    good: Span


class _Proof(NamedTuple):
    """Who a caller has proved to be, by which credential, and when that is good."""

    consumer: Consumer
    credential: bytes
    good: Span


class Identifier:
    """Judges what a caller shows. Holds the client authorities in force, which `serve/tls.py` replaces as one value."""

    def __init__(self, settings: Identity, max_token_bytes: int) -> None:
        self.trust = NOBODY
        self.remembered = Remembered(settings.remembered_tokens)
        self._settings = settings
        self._max_token_bytes = max_token_bytes
        self._remembered_under: tuple[Trust, Mapping[str, str]] = (NOBODY, {})
        self.generation = time.time_ns()  # another number whenever what was proved before may be proved no more

    def identify(self, peer: Peer, snapshot: Snapshot, times: Times) -> Consumer:
        """Return the consumer that a caller is.

        Raises:
            Unauthenticated: there is neither token nor certificate, or not all that this consumer needs; the two do not belong
                together; the token is malformed, altered, expired, not yet valid, too long-lived, meant for another broker, or
                signed by a key that is not the consumer's now; the certificate is expired, not yet valid, revoked, not for
                clients, or not of an authority in force.
        """
        if len(peer.token) > self._max_token_bytes:
            raise Unauthenticated
        self.forget_what_may_have_changed(snapshot)
        digest = _digest(peer)
        number = self.remembered.recall(snapshot.image, digest, times.earliest_ms, times.latest_ms)
        if number is not None:
            return snapshot.by_number[number]
        proof = self._prove(peer, snapshot)
        if proof is None or not proof.good.holds(times):
            raise Unauthenticated
        self.remembered.remember(digest, proof.credential, *proof.good)
        return proof.consumer

    def note(self, peer: Peer) -> bytes | None:
        """Return what a front is to remember of what a caller has proved: generation, credential, begin, end (ms)."""
        proof = self.remembered.proof(_digest(peer))
        return None if proof is None else _NOTE.pack(self.generation, *proof)

    def forget_what_may_have_changed(self, snapshot: Snapshot) -> None:
        """A credential says which key and name were shown; who is trusted, and whose the other names are, it does not say."""
        under = (self.trust, snapshot.certificate_names)
        if under[0] is not self._remembered_under[0] or under[1] is not self._remembered_under[1]:
            if under != self._remembered_under:
                self.remembered.forget()
                self.generation = time.time_ns()
            self._remembered_under = under

    def _prove(self, peer: Peer, snapshot: Snapshot) -> _Proof | None:
        certificate, span = self._certificate(peer.certificate) if peer.certificate else (None, _ALWAYS)
        token = self._token(peer.token, snapshot) if peer.token else None
        consumer = agree(token.claims if token else None, certificate, snapshot)
        if consumer is None:
            return None
        named = next(iter(_stood_for(certificate, snapshot)), None)
        name = next(n for n in certificate.names if n in snapshot.certificate_names) if certificate and named else ""
        key = (token.key_id, token.public_key) if token else None
        good = _both(span, token.good) if token else span
        return _Proof(consumer, credential_of(consumer.id, key, name), good)

    def _certificate(self, pem: bytes) -> tuple[Certificate, Span]:
        try:
            certificate = read_certificate(pem)
        except MALFORMED as error:
            raise Unauthenticated from error
        good = self.trust.span(certificate)
        if good is None:
            raise Unauthenticated
        return certificate, good

    def _token(self, token: str, snapshot: Snapshot) -> _Token:
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
        if not 0 < claims.exp - claims.iat <= self._settings.max_token_life_s or not 0 < claims.exp < _LAST_SECOND:
            raise Unauthenticated
        skew_s = self._settings.clock_skew_s
        good = Span((claims.iat - skew_s) * 1000, (claims.exp + skew_s) * 1000)
        return _Token(claims, header.kid, public_key, good)


def _digest(peer: Peer) -> bytes:
    """SHA-256 of all that was shown; the length before the token keeps it apart from the certificate."""
    token = peer.token.encode()
    return hashlib.sha256(b"%d\0%b%b" % (len(token), token, peer.certificate)).digest()


def _both(one: Span, other: Span) -> Span:
    return Span(max(one.begins_ms, other.begins_ms), min(one.ends_ms, other.ends_ms))


def agree(claims: Claims | None, certificate: Certificate | None, snapshot: Snapshot) -> Consumer | None:
    """Decide who a caller is by a token and a certificate that are good each by itself; None if they do not say."""
    stood_for = _stood_for(certificate, snapshot)
    if len(stood_for) > 1:
        return None
    named = next(iter(stood_for), None)
    if claims is None:
        alone = snapshot.consumers[named] if named else None
        return alone if alone and alone.identity == "either" else None
    if named is not None and (named != claims.iss or claims.cnf is None):
        return None
    if claims.cnf is not None and (certificate is None or claims.cnf.thumbprint != certificate.thumbprint):
        return None
    consumer = snapshot.consumers[claims.iss]
    return consumer if named or consumer.identity == "either" else None


def _stood_for(certificate: Certificate | None, snapshot: Snapshot) -> set[str]:
    known = snapshot.certificate_names
    return {known[name] for name in certificate.names if name in known} if certificate else set()


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
