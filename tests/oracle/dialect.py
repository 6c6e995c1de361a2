"""What the signing of providers must give, from its written rule alone."""

import base64
import hashlib
import hmac

from cryptography.hazmat.primitives import padding
from cryptography.hazmat.primitives.ciphers import Cipher, algorithms, modes


def gjgxjhpt_headers(rid: str, sid: str, rtime: int, secret: bytes) -> dict[str, str]:
    signed = (sid + rid + str(rtime)).encode()
    sign = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return {"gjgxjhpt_rid": rid, "gjgxjhpt_sid": sid, "gjgxjhpt_rtime": str(rtime), "gjgxjhpt_sign": sign}


def gjzwfwpt_headers(rid: str, sid: str, rtime: int, secret: bytes, digest: str = "sha256") -> dict[str, str]:
    sign = base64.b64encode(hmac.new(secret, (sid + rid + str(rtime)).encode(), digest).digest()).decode()
    return {"gjzwfwpt_rid": rid, "gjzwfwpt_sid": sid, "gjzwfwpt_rtime": str(rtime), "gjzwfwpt_sign": sign}


def gateway_headers(appid: str, rtime: int, token: bytes) -> dict[str, str]:
    sig = base64.b64encode(hmac.new(token, (appid + str(rtime)).encode(), hashlib.sha256).digest()).decode()
    return {"gateway_appid": appid, "gateway_rtime": str(rtime), "gateway_sig": sig}


def zhejiang_query(app: str, at: int, secret: bytes) -> dict[str, str]:
    return {"appKey": app, "sign": hashlib.md5(app.encode() + secret + str(at).encode()).hexdigest(), "requestTime": str(at)}


def shandong_headers(client: str, at: int, nonce: str, secret: bytes) -> dict[str, str]:
    sign = base64.b64encode(hmac.new(secret, (client + str(at) + nonce).encode(), hashlib.sha256).digest()).decode()
    return {"X-Client-Id": client, "X-Timestamp": str(at), "X-Nonce": nonce, "X-Signature": sign}


def locked(secret: bytes, app_key: bytes) -> str:
    """Encrypt a secret as the national exchange's secret service does."""
    padder = padding.PKCS7(128).padder()
    encryptor = Cipher(algorithms.AES(app_key[:16]), modes.ECB()).encryptor()
    return base64.b64encode(encryptor.update(padder.update(secret) + padder.finalize()) + encryptor.finalize()).decode()
