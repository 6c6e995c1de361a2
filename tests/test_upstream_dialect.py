"""Signing dialects against vectors made by the standard library alone."""

from __future__ import annotations

import hashlib
import hmac

import pytest

from broker.model.catalogue import HttpEndpoint, HttpOperation
from broker.upstream.dialect import DIALECTS, DIGESTS, ENCODINGS, Dialect, Facts, SecretSource, Signed, check_endpoint, sign
from tests.oracle.dialect import gjgxjhpt_headers

NATIONAL = HttpEndpoint(
    base_url="https://exchange.example", dialect="gjgxjhpt", requester_id="rid", app_key_file="key", secret_path="/secret"
)


@pytest.mark.parametrize("secret", [b"secret", "密钥".encode(), b"\xff\x00\xfe", b"{rid}"])
@pytest.mark.parametrize(("rid", "sid", "rtime"), [("r_001", "s_0000_1", 1_700_000_000_123), ("", "", 0), ("{sid}", "请求", 1)])
def test_the_national_exchange_signs_as_its_rule_says(rid: str, sid: str, rtime: int, secret: bytes) -> None:
    headers = sign(DIALECTS["gjgxjhpt"], Facts(rid, sid, rtime, "nonce"), secret).headers
    assert headers == gjgxjhpt_headers(rid, sid, rtime, secret)


def test_the_plain_dialect_adds_nothing() -> None:
    assert sign(DIALECTS["plain"], Facts("rid", "sid", 1, "nonce"), b"") == Signed({}, {})


def test_a_client_id_and_nonce_dialect_is_data() -> None:
    dialect = Dialect(
        headers={"X-Client-Id": "{rid}", "X-Timestamp": "{rtime}", "X-Nonce": "{nonce}", "X-Signature": "{sign}"},
        string_to_sign="{rid}{rtime}{nonce}",
        encoding="hex",
        secret=SecretSource.APP_KEY,
    )
    headers = sign(dialect, Facts("me", "s", 42, "abc"), b"key").headers
    assert headers["X-Nonce"] == "abc"
    assert headers["X-Signature"] == hmac.new(b"key", b"me42abc", hashlib.sha256).hexdigest()


@pytest.mark.parametrize("digest", ["md5", "sha1"])
def test_a_plain_digest_dialect_signs_the_secret_itself(digest: str) -> None:
    dialect = Dialect({"sign": "{sign}"}, "{rid}{secret}{rtime}", digest, "hex", SecretSource.APP_KEY)
    headers = sign(dialect, Facts("app", "", 7, ""), b"\xffkey").headers
    assert headers == {"sign": hashlib.new(digest, b"app\xffkey7").hexdigest()}


def test_every_dialect_names_a_digest_and_an_encoding_that_exist() -> None:
    for dialect in DIALECTS.values():
        assert dialect.digest in DIGESTS
        assert dialect.encoding in ENCODINGS


def test_settings_that_a_dialect_needs_are_asked_for() -> None:
    operation = HttpOperation(path="/", service_id="sid")
    assert check_endpoint(NATIONAL, operation) == []
    assert check_endpoint(HttpEndpoint(base_url="http://a"), HttpOperation(path="/")) == []
    bare = HttpEndpoint(base_url="http://a", dialect="gjgxjhpt")
    problems = check_endpoint(bare, HttpOperation(path="/"))
    assert [problem.partition(":")[0] for problem in problems] == ["requester_id", "service_id", "app_key_file", "secret_path"]
    unknown = HttpEndpoint(base_url="http://a", dialect="none-such")
    assert check_endpoint(unknown, operation) == ["dialect: `none-such` is none of " + ", ".join(sorted(DIALECTS))]
