"""The providers' side of the signing dialects: who may ask, under which secret, within which time, and once only.

Written from the protocols' descriptions and on purpose without a line of the broker's own dialects, so that each checks the
other; the national exchange's is in gjgxjhpt.py. What must not go in here: files, sockets, answers (signed_server.py).
"""

from __future__ import annotations

import abc
import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from broker.demo.gjgxjhpt import Doorkeeper as NationalExchange

SKEW_MS = 10 * 60 * 1000  # how far a caller's clock may be off
_REFRESH_LIVES = 4  # a refresh secret lives so much longer than a request secret


class Visit(NamedTuple):
    """What a doorkeeper looks at."""

    headers: Mapping[str, str]
    query: Mapping[str, str]
    service: str  # as the provider knows what is asked


class Terms(NamedTuple):
    """What a provider and its caller agreed on."""

    requester: str
    app_key: str
    life_s: float = 600.0  # of a secret that is handed out
    revokes: bool = False  # whether a new secret ends the earlier ones at once
    digest: str = "sha256"  # of an HMAC, as `hashlib` calls it
    clock: Callable[[], float] = time.time  # seconds since the epoch


class Doorkeeper(abc.ABC):
    """What all of them have: the terms, the secrets handed out, a clock and a memory of nonces."""

    paths: tuple[str, ...] = ()  # of the secret services

    def __init__(self, terms: Terms) -> None:
        self._terms = terms
        self._nonces: dict[str, int] = {}  # -> when it may be forgotten, oldest first
        self.secrets: dict[str, int] = {}  # handed out to sign with -> the millisecond of its end

    @abc.abstractmethod
    def admits(self, visit: Visit) -> bool:
        """Whether a question is signed rightly."""

    def issue(self, path: str, visit: Visit) -> Any | None:
        """Answer at a secret service, or None to who may not ask."""
        return None

    @property
    def now_ms(self) -> int:
        """The provider's time."""
        return int(self._terms.clock() * 1000)

    def _in_time(self, rtime: str) -> bool:
        return rtime.isdecimal() and abs(int(rtime) - self.now_ms) <= SKEW_MS

    def _is_new(self, nonce: str) -> bool:
        """Whether a nonce was never seen as long as its timestamp could still be taken."""
        while self._nonces and next(iter(self._nonces.values())) <= self.now_ms:
            del self._nonces[next(iter(self._nonces))]
        if not nonce or nonce in self._nonces:
            return False
        self._nonces[nonce] = self.now_ms + 2 * SKEW_MS
        return True

    def _holding(self) -> list[str]:
        return [secret for secret, end in self.secrets.items() if self.now_ms < end]

    def _hand_out(self) -> tuple[str, int]:
        """Make a secret to sign with; return it and its end."""
        kept = {} if self._terms.revokes else {secret: self.secrets[secret] for secret in self._holding()}
        secret, end = secrets.token_hex(16), self.now_ms + int(self._terms.life_s * 1000)
        self.secrets = {**kept, secret: end}
        return secret, end

    def _mac(self, key: str, text: str) -> str:
        return base64.b64encode(
            hmac.new(key.encode(), text.encode(), lambda: hashlib.new(self._terms.digest)).digest()
        ).decode()


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode(), other.encode())


class Bearer(Doorkeeper):
    """A constant token in ``Authorization`` (RFC 6750 §2.1)."""

    def admits(self, visit: Visit) -> bool:
        """Compare the token."""
        return _same(visit.headers.get("Authorization", ""), f"Bearer {self._terms.app_key}")


class GovernmentPlatform(Doorkeeper):
    """gjzwfwpt v0.55: Base64(HMAC-SHA256(sid + rid + rtime, appsecret)); a service that is not named is not served."""

    def admits(self, visit: Visit) -> bool:
        """Check the four headers."""
        rid, sid, rtime, sign = (visit.headers.get(f"gjzwfwpt_{name}", "") for name in ("rid", "sid", "rtime", "sign"))
        if not sid or sid != visit.service or rid != self._terms.requester or not self._in_time(rtime):
            return False
        return _same(sign, self._mac(self._terms.app_key, sid + rid + rtime))


class Gateway(Doorkeeper):
    """Base64(HMAC-SHA256(appid + rtime, token)); the token is asked for under the app key, and comes locked with it."""

    paths: tuple[str, ...] = ("/auth/token",)

    def admits(self, visit: Visit) -> bool:
        """Check the three headers under any token that holds."""
        return self._is_signed(visit, self._holding())

    def issue(self, path: str, visit: Visit) -> Any | None:
        """Hand out a token, the same while it holds."""
        if not self._is_signed(visit, [self._terms.app_key]):
            return None
        token = next(iter(self._holding()), None) or self._hand_out()[0]
        return {"status": 200, "body": {"access_token": self._locked(token)}}

    def _is_signed(self, visit: Visit, keys: list[str]) -> bool:
        appid, rtime, sig = (visit.headers.get(f"gateway_{name}", "") for name in ("appid", "rtime", "sig"))
        if appid != self._terms.requester or not self._in_time(rtime):
            return False
        return any(_same(sig, self._mac(key, appid + rtime)) for key in keys)

    def _locked(self, token: str) -> str:
        padder = PKCS7(128).padder()
        padded = padder.update(token.encode()) + padder.finalize()
        drawn = hashlib.sha1(hashlib.sha1(self._terms.app_key.encode()).digest()).digest()[:16]  # noqa: S324 - as Java's SHA1PRNG
        encryptor = Cipher(algorithms.AES(drawn), modes.CBC(b"AESCBCPKCS5Paddi")).encryptor()
        return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()


class GatewayOfOneToken(Gateway):
    """The same with a constant token, and so without a token service."""

    paths = ()

    def admits(self, visit: Visit) -> bool:
        """Check the three headers under the token."""
        return self._is_signed(visit, [self._terms.app_key])


class Zhejiang(Doorkeeper):
    """MD5(appKey + secret + requestTime) in the query, under a request secret; one that lives longer renews it."""

    paths = ("/refreshTokenByKey", "/refreshTokenBySec")

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._refresh: tuple[str, int] = ("", 0)  # the only one that holds, and its end

    def admits(self, visit: Visit) -> bool:
        """Check the three parameters under any request secret that holds."""
        return self._is_signed(visit, self._holding())

    def issue(self, path: str, visit: Visit) -> Any | None:
        """Hand out a new pair, against the app secret or the refresh secret."""
        refresh, refresh_end = self._refresh
        keys = [self._terms.app_key] if path == self.paths[0] else [refresh] if self.now_ms < refresh_end else []
        if not self._is_signed(visit, keys):
            return None
        request, request_end = self._hand_out()
        self._refresh = secrets.token_hex(16), self.now_ms + int(self._terms.life_s * 1000 * _REFRESH_LIVES)
        pair = {"refreshSecret": self._refresh[0], "refreshSecretEndTime": self._refresh[1]}
        return {"code": "00", "msg": "", "datas": {**pair, "requestSecret": request, "requestSecretEndTime": request_end}}

    def _is_signed(self, visit: Visit, keys: list[str]) -> bool:
        app, sign, at = (visit.query.get(name, "") for name in ("appKey", "sign", "requestTime"))
        if app != self._terms.requester or not self._in_time(at):
            return False
        return any(_same(sign, hashlib.md5(f"{app}{key}{at}".encode()).hexdigest()) for key in keys)  # noqa: S324 - as agreed


class Shandong(Doorkeeper):
    """Base64(HMAC-SHA256(id + timestamp + nonce, secret)); a nonce is taken once."""

    def admits(self, visit: Visit) -> bool:
        """Check the four headers; the nonce last, so that a stranger cannot use one up."""
        names = ("X-Client-Id", "X-Timestamp", "X-Nonce", "X-Signature")
        client, at, nonce, sign = (visit.headers.get(name, "") for name in names)
        if client != self._terms.requester or not self._in_time(at):
            return False
        return _same(sign, self._mac(self._terms.app_key, client + at + nonce)) and self._is_new(nonce)


class National(Doorkeeper):
    """The national exchange's doorkeeper behind the face of the others."""

    paths = ("/secret",)

    def __init__(self, terms: Terms) -> None:
        super().__init__(terms)
        self._exchange = NationalExchange(terms.app_key, terms.requester, terms.life_s, terms.clock)

    def admits(self, visit: Visit) -> bool:
        """Check the four headers."""
        return self._exchange.admits_call(visit.headers, visit.service)

    def issue(self, path: str, visit: Visit) -> Any | None:
        """Hand out the current secret."""
        return self._exchange.issue() if self._exchange.admits_secret_request(visit.headers) else None


class Open(Doorkeeper):
    """Lets everybody in."""

    def admits(self, visit: Visit) -> bool:
        """Look at nothing."""
        return True


DOORKEEPERS: Mapping[str, type[Doorkeeper]] = {
    "plain": Open,
    "bearer": Bearer,
    "gjgxjhpt": National,
    "gjzwfwpt": GovernmentPlatform,
    "gateway-token": Gateway,
    "gateway-token-file": GatewayOfOneToken,
    "zhejiang": Zhejiang,
    "shandong": Shandong,
}
