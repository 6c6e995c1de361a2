"""The departments' side of the national exchange's signing dialect: who may ask, under which secret.

A call carries four headers; ``sign`` is Base64(HMAC-SHA256(sid + rid + rtime, secret)). The secret is fetched, signed with the
app key in its place, and comes encrypted with AES-128-ECB (PKCS #7) under the first 16 bytes of the app key. Written from the
protocol's description and on purpose without a line of the broker's own dialect, so that each checks the other. What must not
go in here: files and sockets.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import secrets
import time
from collections.abc import Callable, Mapping
from typing import Any

from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes
from cryptography.hazmat.primitives.padding import PKCS7

from broker.demo.departments import OK

SKEW_MS = 10 * 60 * 1000  # how far a caller's clock may be off
_OVERLAP_MS = 30 * 1000  # how long a secret is still taken after its end


class Doorkeeper:
    """Hands out secrets to one requester of one department and checks what is signed with them."""

    def __init__(self, app_key: str, requester: str, secret_life_s: float, clock: Callable[[], float] = time.time) -> None:
        self._app_key = app_key
        self._requester = requester
        self._life_ms = int(secret_life_s * 1000)
        self._clock = clock
        self._secrets: list[tuple[str, int]] = []  # with the millisecond of their end, oldest first

    def admits_call(self, headers: Mapping[str, str], service: str) -> bool:
        """Whether a call to a service is signed with a secret that holds or has just ended."""
        now = self._now_ms()
        self._secrets = [(secret, end) for secret, end in self._secrets if now < end + _OVERLAP_MS]
        return headers.get("gjgxjhpt_sid") == service and self._is_signed(headers, *(s for s, _ in self._secrets))

    def admits_secret_request(self, headers: Mapping[str, str]) -> bool:
        """Whether a request for a secret is signed with the app key; the sid may be any."""
        return self._is_signed(headers, self._app_key)

    def issue(self) -> dict[str, Any]:
        """Give the current secret, a new one if less than half of its life is left."""
        now = self._now_ms()
        if not self._secrets or self._secrets[-1][1] - now < self._life_ms // 2:
            self._secrets.append((secrets.token_hex(16), now + self._life_ms))
        secret, end = self._secrets[-1]
        return {"code": OK, "data": {"secret": self._encrypted(secret), "secretEndTime": end}}

    def _is_signed(self, headers: Mapping[str, str], *keys: str) -> bool:
        rid, sid, rtime, sign = (headers.get(f"gjgxjhpt_{name}", "") for name in ("rid", "sid", "rtime", "sign"))
        if rid != self._requester or not rtime.isdecimal() or abs(int(rtime) - self._now_ms()) > SKEW_MS:
            return False
        return any(hmac.compare_digest(signature(key, rid, sid, rtime).encode(), sign.encode()) for key in keys)

    def _encrypted(self, secret: str) -> str:
        padder = PKCS7(128).padder()
        padded = padder.update(secret.encode()) + padder.finalize()
        encryptor = Cipher(algorithms.AES(self._app_key.encode()[:16]), modes.ECB()).encryptor()  # noqa: S305 - as the protocol has it
        return base64.b64encode(encryptor.update(padded) + encryptor.finalize()).decode()

    def _now_ms(self) -> int:
        return int(self._clock() * 1000)


def signature(key: str, rid: str, sid: str, rtime: str) -> str:
    """Sign as the protocol says."""
    return base64.b64encode(hmac.digest(key.encode(), f"{sid}{rid}{rtime}".encode(), hashlib.sha256)).decode()
