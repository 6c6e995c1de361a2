"""What the national exchange's signing must give, from its written rule and the standard library alone."""

import base64
import hashlib
import hmac


def gjgxjhpt_headers(rid: str, sid: str, rtime: int, secret: bytes) -> dict[str, str]:
    signed = (sid + rid + str(rtime)).encode()
    sign = base64.b64encode(hmac.new(secret, signed, hashlib.sha256).digest()).decode()
    return {"gjgxjhpt_rid": rid, "gjgxjhpt_sid": sid, "gjgxjhpt_rtime": str(rtime), "gjgxjhpt_sign": sign}
