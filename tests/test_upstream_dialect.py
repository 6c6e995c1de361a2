"""Signing dialects against vectors made by the standard library alone, or by openssl; what the catalogue is told of them."""

from __future__ import annotations

import hashlib
import hmac

import msgspec
import pytest
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes

from broker.model.catalogue import Envelope, HttpEndpoint, HttpOperation
from broker.upstream.dialect import (
    DIALECTS,
    DIGESTS,
    ENCODINGS,
    Dialect,
    Facts,
    SecretSource,
    Signed,
    check_endpoint,
    dialect_of,
    envelope_of,
    is_off,
    sign,
)
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


# --- vectors computed once with `openssl dgst -hmac` (or -md5), from the rules as they are written -----------------------

FACTS = Facts("R990101", "s_990101_1", 1_700_000_000_123, "0123456789abcdef0123456789abcdef")
SECRET = "s3cr3t-密".encode()
VECTORS: dict[str, Signed] = {
    "plain": Signed({}, {}),
    "bearer": Signed({"Authorization": "Bearer s3cr3t-密"}, {}),
    "gjgxjhpt": Signed(
        {
            "gjgxjhpt_rid": "R990101",
            "gjgxjhpt_sid": "s_990101_1",
            "gjgxjhpt_rtime": "1700000000123",
            "gjgxjhpt_sign": "MLPuKboHyZ3f1EtgMig4aO+qZJ5WVWjMfs/Ttj4gQe8=",
        },
        {},
    ),
    "gjzwfwpt": Signed(
        {
            "gjzwfwpt_rid": "R990101",
            "gjzwfwpt_sid": "s_990101_1",
            "gjzwfwpt_rtime": "1700000000123",
            "gjzwfwpt_sign": "MLPuKboHyZ3f1EtgMig4aO+qZJ5WVWjMfs/Ttj4gQe8=",
        },
        {},
    ),
    "gateway-token": Signed(
        {
            "gateway_appid": "R990101",
            "gateway_rtime": "1700000000123",
            "gateway_sig": "TKN5GDCmMsInizBRmqkVyJ/mAHZAGBNe5HDP5+dJFYo=",
        },
        {},
    ),
    "zhejiang": Signed({}, {"appKey": "R990101", "sign": "d09e82054ccc8344cd143a3a6697b8d4", "requestTime": "1700000000123"}),
    "shandong": Signed(
        {
            "X-Client-Id": "R990101",
            "X-Timestamp": "1700000000123",
            "X-Nonce": "0123456789abcdef0123456789abcdef",
            "X-Signature": "vq9CWSiclemxoLv/Yf6tj0Pgbo1q3PSHPIWYe2EV1CY=",
        },
        {},
    ),
}
VECTORS["gateway-token-file"] = VECTORS["gateway-token"]


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_signs_as_its_vector_says(name: str) -> None:
    assert sign(DIALECTS[name], FACTS, SECRET) == VECTORS[name]


def test_a_signature_shows_nothing_of_itself() -> None:
    assert repr(sign(DIALECTS["bearer"], FACTS, SECRET)) == "Signed()"


def test_sm3_takes_the_place_of_sha256_and_gives_openssls_vector() -> None:
    endpoint = HttpEndpoint(base_url="http://a", dialect="gjzwfwpt", digest="hmac-sm3")
    signed = sign(dialect_of(endpoint), FACTS, SECRET).headers["gjzwfwpt_sign"]
    assert signed == "AMBvOu0x2J2K+j6TrGydkZZDiHp+h+tQvt2fs+Z2MHQ="
    abc = "28e63256e7c5a087b1f073265dc53092163f7b82729735d06f28f10af9d52393"
    assert DIGESTS["hmac-sm3"](b"key", b"abc").hex() == abc


# --- what the catalogue is told -----------------------------------------------------------------------------------------

ALL = HttpEndpoint(base_url="http://a", requester_id="rid", app_key_file="key", secret_path="/secret", renewal_path="/renew")
NEEDED = {
    "plain": [],
    "bearer": ["app_key_file"],
    "gjgxjhpt": ["requester_id", "service_id", "app_key_file", "secret_path"],
    "gjzwfwpt": ["requester_id", "service_id", "app_key_file"],
    "gateway-token": ["requester_id", "app_key_file", "secret_path"],
    "gateway-token-file": ["requester_id", "app_key_file"],
    "zhejiang": ["requester_id", "app_key_file", "secret_path", "renewal_path"],
    "shandong": ["requester_id", "app_key_file"],
}


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_names_what_it_needs(name: str) -> None:
    bare = HttpEndpoint(base_url="http://a", dialect=name)
    problems = check_endpoint(bare, HttpOperation(path="/sysapi/person"))
    assert problems == [f"{key}: needed by dialect `{name}`" for key in NEEDED[name]]
    whole = msgspec.structs.replace(ALL, dialect=name)
    assert check_endpoint(whole, HttpOperation(path="/sysapi/person", service_id="sid")) == []


def test_an_interface_may_have_its_own_account() -> None:
    bare = HttpEndpoint(base_url="http://a", dialect="gjzwfwpt")
    own = HttpOperation(path="/sysapi/person", service_id="s", requester_id="rid", app_key_file="person.key")
    assert check_endpoint(bare, own) == []


def test_the_form_that_a_dialect_prescribes_is_checked() -> None:
    platform = msgspec.structs.replace(ALL, dialect="gjzwfwpt")
    wrong = HttpOperation(path="/person", service_id="s", method="GET", parameters={"GMSFHM": "{resident_id}", "xm": "{name}"})
    assert [problem.partition(": ")[0] for problem in check_endpoint(platform, wrong)] == [
        "operation.method",
        "operation.path",
        "operation.parameters.GMSFHM",
    ]
    zhejiang = msgspec.structs.replace(ALL, dialect="zhejiang")
    clash = check_endpoint(zhejiang, HttpOperation(path="/", parameters={"sign": "1", "cardId": "{resident_id}"}))
    assert clash == ["operation.parameters.sign: is what dialect `zhejiang` signs with"]


@pytest.mark.parametrize(
    ("dialect", "digest", "accepted"),
    [
        ("gjgxjhpt", "hmac-sm3", True),
        ("shandong", "hmac-sha256", True),
        ("shandong", "md5", False),
        ("shandong", "klingon", False),
        ("zhejiang", "hmac-sm3", False),
        ("bearer", "hmac-sm3", False),
        ("plain", "hmac-sm3", False),
    ],
)
def test_a_keyed_digest_may_stand_for_another(dialect: str, digest: str, accepted: bool) -> None:
    endpoint = msgspec.structs.replace(ALL, dialect=dialect, digest=digest)
    problems = check_endpoint(endpoint, HttpOperation(path="/", service_id="sid"))
    assert problems == ([] if accepted else [f"digest: dialect `{dialect}` cannot be signed with `{digest}`"])


def test_a_digest_that_the_library_lacks_is_told_to_the_catalogue(monkeypatch: pytest.MonkeyPatch) -> None:
    def absent() -> None:
        raise UnsupportedAlgorithm("sm3")

    monkeypatch.setattr(hashes, "SM3", absent)
    endpoint = msgspec.structs.replace(ALL, dialect="shandong", digest="hmac-sm3")
    problems = check_endpoint(endpoint, HttpOperation(path="/"))
    assert problems == ["digest: `hmac-sm3` is not in the cryptographic library of this installation"]


# --- what an answer means -----------------------------------------------------------------------------------------------


def test_an_interface_without_a_code_has_its_dialects_rule() -> None:
    dialect, own = DIALECTS["gjzwfwpt"], Envelope(code="c", success=("0",), record="d")
    assert envelope_of(dialect, HttpOperation(path="/")) == dialect.envelope
    assert envelope_of(dialect, HttpOperation(path="/", envelope=Envelope(record="data.0"))).record == "data.0"
    assert envelope_of(dialect, HttpOperation(path="/", envelope=Envelope(record="data.0"))).success == ("200",)
    assert envelope_of(dialect, HttpOperation(path="/", envelope=own)) == own
    assert envelope_of(DIALECTS["plain"], HttpOperation(path="/", envelope=Envelope(record="r"))) == Envelope(record="r")


@pytest.mark.parametrize("minutes", [-11, -10, -1, 0, 9, 10, 11])
def test_a_clock_is_off_beyond_the_window_and_only_where_time_is_signed(minutes: int) -> None:
    now_ms = 1_700_000_000_000
    theirs = float(now_ms + minutes * 60_000)
    assert is_off(DIALECTS["shandong"], theirs, now_ms) is (abs(minutes) > 10)
    assert not is_off(DIALECTS["bearer"], theirs, now_ms)
    assert not is_off(DIALECTS["shandong"], None, now_ms)
