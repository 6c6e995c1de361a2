"""Tokens: one good one, and every way a bad one can look. All bad ones get the same constant refusal."""

from __future__ import annotations

import base64
import itertools
import json
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from broker.client.credentials import issue_token, public_half, thumbprint
from broker.config import Identity
from broker.errors import Unauthenticated
from broker.model.call import Peer, Times
from broker.model.catalogue import Catalogue, Consumer, ConsumerKey
from broker.model.snapshot import Snapshot
from broker.policy.certificates import read_trust
from broker.policy.compiler import compile_snapshot
from broker.policy.identify import Identifier
from tests.support.certificates import Authority

NOW = 1_800_000_000.0
KEY, OTHER = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate()
SETTINGS = Identity()


def _snapshot(certificates: tuple[str, ...] = (), **keys: Ed25519PrivateKey) -> Snapshot:
    consumers = tuple(
        Consumer(
            id=name.replace("_", "-"),
            name=name,
            keys=(ConsumerKey(id="k1", public_key=public_half(key)),),
            certificates=certificates,
        )
        for name, key in keys.items()
    )
    return compile_snapshot(Catalogue(consumers=consumers), 1)


SNAPSHOT = _snapshot(tax_hall=KEY, notary=OTHER)
EMPTY = _snapshot()


def _token(**changes: object) -> str:
    values = {"now_s": NOW} | changes
    return issue_token("tax-hall", KEY, **values)  # type: ignore[arg-type]


def _show(
    identifier: Identifier, token: str, snapshot: Snapshot = SNAPSHOT, now_s: float = NOW, certificate: bytes = b""
) -> str:
    return identifier.identify(Peer(token=token, certificate=certificate), snapshot, Times.exactly(int(now_s * 1000))).id


def _identify(token: str, now_s: float = NOW, snapshot: Snapshot = SNAPSHOT) -> str:
    return _show(Identifier(SETTINGS, 4096), token, snapshot, now_s)


def _b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def _claims(**changes: object) -> dict[str, object]:
    claims = {"iss": "tax-hall", "aud": SETTINGS.audience, "iat": int(NOW), "exp": int(NOW) + 300} | changes
    return {name: value for name, value in claims.items() if value is not None}


def _signed(header: bytes, claims: bytes) -> str:
    """Sign exactly these bytes, so that only what they say can be wrong."""
    text = f"{_b64(header)}.{_b64(claims)}"
    return f"{text}.{_b64(KEY.sign(text.encode()))}"


HEADER = b'{"alg":"EdDSA","typ":"JWT","kid":"k1"}'


def test_a_good_token_names_its_consumer() -> None:
    assert _identify(_token()) == "tax-hall"
    assert _identify(_signed(HEADER, json.dumps(_claims(jti="x")).encode())) == "tax-hall"


def test_any_jwt_library_can_make_one() -> None:
    assert _identify(jwt.encode(_claims(), KEY, algorithm="EdDSA", headers={"kid": "k1"})) == "tax-hall"


@pytest.mark.parametrize(
    ("after_s", "good"),
    [(-31, False), (-30, True), (0, True), (299, True), (329, True), (330, False), (86_400, False), (-86_400, False)],
)
def test_time_has_exact_bounds(after_s: int, good: bool) -> None:
    if good:
        assert _identify(_token(), NOW + after_s) == "tax-hall"
    else:
        with pytest.raises(Unauthenticated):
            _identify(_token(), NOW + after_s)


HOSTILE = {
    "empty": "",
    "noise": "a.b.c",
    "two parts": "a.b",
    "too long": _token() + "A" * 5000,
    "not ascii": "令牌.令牌.令牌",
    "alg none": _signed(HEADER.replace(b"EdDSA", b"none"), json.dumps(_claims()).encode()),
    "alg HS256 with the public key": jwt.encode(_claims(), public_half(KEY) * 2, algorithm="HS256", headers={"kid": "k1"}),
    "typ of another kind": _signed(HEADER.replace(b'"JWT"', b'"logout+jwt"'), json.dumps(_claims()).encode()),
    "typ missing": _signed(b'{"alg":"EdDSA","kid":"k1"}', json.dumps(_claims()).encode()),
    "kid unknown": _token(key_id="k2"),
    "kid a path": _signed(HEADER.replace(b'"k1"', b'"../../etc/passwd"'), json.dumps(_claims()).encode()),
    "kid missing": _signed(b'{"alg":"EdDSA","typ":"JWT"}', json.dumps(_claims()).encode()),
    "embedded key": _signed(HEADER[:-1] + b',"jwk":{}}', json.dumps(_claims()).encode()),
    "unknown crit": _signed(HEADER[:-1] + b',"crit":["x"],"x":1}', json.dumps(_claims()).encode()),
    "duplicate claim": _signed(HEADER, json.dumps(_claims()).encode()[:-1] + b',"iss":"notary"}'),
    "unknown claim": _signed(HEADER, json.dumps(_claims(admin=True)).encode()),
    "claim missing": _signed(HEADER, json.dumps(_claims(exp=None)).encode()),
    "claim of another type": _signed(HEADER, json.dumps(_claims(exp="soon")).encode()),
    "claims not an object": _signed(HEADER, b"[]"),
    "claims nested deep": _signed(HEADER, b"[" * 1500),
    "other audience": _token(audience="another-broker"),
    "life too long": _token(life_s=301),
    "life negative": _token(life_s=-1),
    "bound, and no certificate": _token(bound_to="A" * 43),
    "bound to nothing": _signed(HEADER, json.dumps(_claims(cnf={})).encode()),
    "bound by another method": _signed(HEADER, json.dumps(_claims(cnf={"jkt": "A" * 43})).encode()),
    "bound to no text": _signed(HEADER, json.dumps(_claims(cnf={"x5t#S256": 1})).encode()),
    "bound twice": _signed(HEADER, json.dumps(_claims(cnf={"x5t#S256": "A" * 43, "jkt": "A" * 43})).encode()),
    "foreign: signed by another consumer": issue_token("tax-hall", OTHER, now_s=NOW),
    "unknown consumer": issue_token("nobody", KEY, now_s=NOW),
}


@pytest.mark.parametrize("token", HOSTILE.values(), ids=HOSTILE.keys())
def test_a_hostile_token_is_refused_with_one_constant_text(token: str) -> None:
    with pytest.raises(Unauthenticated) as refusal:
        _identify(token)
    assert str(refusal.value) == "a valid application token or client certificate is required"


def test_every_single_bit_flip_is_refused(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    shown = authority.issue("tax-hall", "uri:city:tax-hall")
    identifier = Identifier(SETTINGS, 4096)
    identifier.trust = read_trust(authority.own.pem, None)
    certified = _snapshot(("uri:city:tax-hall",), tax_hall=KEY)
    now_s = time.time()
    bound = _token(bound_to=thumbprint(shown.file), now_s=now_s)
    for token, certificate, snapshot in ((_token(now_s=now_s), b"", SNAPSHOT), (bound, shown.pem, certified)):
        assert _show(identifier, token, snapshot, now_s, certificate) == "tax-hall"
        for position, bit in itertools.product(range(len(token)), range(8)):
            flipped = bytearray(token.encode())
            flipped[position] ^= 1 << bit
            with pytest.raises(Unauthenticated):
                _show(identifier, flipped.decode("latin-1"), snapshot, now_s, certificate)


def test_a_remembered_token_ends_with_its_time_and_with_its_key() -> None:
    identifier, token = Identifier(SETTINGS, 4096), _token()
    _show(identifier, token)
    with pytest.raises(Unauthenticated):
        _show(identifier, token, now_s=NOW + 400)
    for without in (EMPTY, _snapshot(tax_hall=OTHER), _snapshot(notary=OTHER)):
        with pytest.raises(Unauthenticated):
            _show(identifier, token, without)


def test_remembering_is_bounded_and_saves_the_verification() -> None:
    identifier = Identifier(Identity(remembered_tokens=2), 4096)
    tokens = [_token(now_s=NOW - age) for age in range(10)]
    for token in tokens:
        _show(identifier, token)
    assert len(identifier.remembered) == 8, "a set is the least there is"
    began = time.perf_counter()
    for _ in range(100):
        _show(identifier, tokens[-1])
    remembered_s = time.perf_counter() - began
    began = time.perf_counter()
    for _ in range(100):
        _identify(tokens[-1])
    assert remembered_s < time.perf_counter() - began
