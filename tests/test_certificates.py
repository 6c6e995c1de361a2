"""Client certificates and tokens together: every pair of what can be shown, and everything that can end a certificate."""

from __future__ import annotations

import datetime as dt
import itertools
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding

from broker.client.credentials import issue_token, public_half, thumbprint
from broker.config import Identity
from broker.errors import Unauthenticated
from broker.model.call import Peer, Times
from broker.model.catalogue import Catalogue, Consumer, ConsumerKey
from broker.model.snapshot import Snapshot
from broker.policy.certificates import MALFORMED, NOBODY, Trust, read_certificate, read_trust, without_lists
from broker.policy.compiler import compile_snapshot
from broker.policy.identify import Identifier
from tests.support.certificates import DAY, SERVERS, Authority, Issued

NOW_S = int(dt.datetime.now(dt.UTC).timestamp())
NOW = Times.exactly(NOW_S * 1000)
KEYS = {name: Ed25519PrivateKey.generate() for name in ("hall", "strict")}


def _snapshot() -> Snapshot:
    consumers = tuple(
        Consumer(
            id=name,
            name=name,
            keys=(ConsumerKey(id="k1", public_key=public_half(key)),),
            certificates=(f"uri:city:{name}", f"dns:{name}.example"),
            identity="both" if name == "strict" else "either",
        )
        for name, key in KEYS.items()
    )
    return compile_snapshot(Catalogue(consumers=consumers), 1)


SNAPSHOT = _snapshot()


@pytest.fixture(scope="module")
def ca(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    return Authority(tmp_path_factory.mktemp("ca"))


def _identifier(trust: Trust) -> Identifier:
    identifier = Identifier(Identity(), 4096)
    identifier.trust = trust
    return identifier


def _who(identifier: Identifier, certificate: bytes, token: str = "", times: Times = NOW) -> str | None:
    try:
        return identifier.identify(Peer(token=token, certificate=certificate), SNAPSHOT, times).id
    except Unauthenticated:
        return None


def _plain(ca: Authority) -> Trust:
    return read_trust(ca.own.pem, None)


# What is shown: the consumer of the token and whose certificate it is bound to; whose certificate. All else is refused.
LET_IN = {
    (("hall", None), None): "hall",
    (("hall", None), "nobody"): "hall",
    (("hall", "nobody"), "nobody"): "hall",
    (("hall", "hall"), "hall"): "hall",
    (None, "hall"): "hall",
    (("strict", "strict"), "strict"): "strict",
}
CERTIFICATES = (None, "nobody", "hall", "strict", "two")
TOKENS = (None, *itertools.product(("hall", "strict"), CERTIFICATES))


def test_every_pair_of_token_and_certificate(ca: Authority) -> None:
    shown: dict[str, Issued] = {name: ca.issue(name, f"uri:city:{name}") for name in CERTIFICATES if name}
    shown["two"] = ca.issue("two", "uri:city:hall", "dns:strict.example")
    identifier = _identifier(_plain(ca))
    for token, certificate in itertools.product(TOKENS, CERTIFICATES):
        text = ""
        if token:
            consumer, bound_to = token
            bound = thumbprint(shown[bound_to].file) if bound_to else None
            text = issue_token(consumer, KEYS[consumer], now_s=NOW_S, bound_to=bound)
        pem = shown[certificate].pem if certificate else b""
        assert _who(identifier, pem, text) == LET_IN.get((token, certificate)), (token, certificate)


@pytest.mark.parametrize("before", [0, 1, 1000])
def test_a_certificate_has_exact_bounds(ca: Authority, before: int) -> None:
    issued = ca.issue("bounds", "uri:city:hall")
    identifier = _identifier(_plain(ca))
    begins_ms = int(issued.certificate.not_valid_before_utc.timestamp()) * 1000
    ends_ms = int(issued.certificate.not_valid_after_utc.timestamp()) * 1000 + 1000
    assert _who(identifier, issued.pem, times=Times.exactly(begins_ms)) == "hall"
    assert _who(identifier, issued.pem, times=Times.exactly(ends_ms - 1)) == "hall"
    assert _who(identifier, issued.pem, times=Times.exactly(begins_ms - 1 - before)) is None
    assert _who(identifier, issued.pem, times=Times.exactly(ends_ms + before)) is None
    stepped_back = Times(NOW.wall_ms, NOW.wall_ms, ends_ms)
    assert _who(identifier, issued.pem, times=stepped_back) is None, "judged by the latest time it can be"


def test_a_certificate_ends_with_its_authority(ca: Authority) -> None:
    issued = ca.issue("outliving", "uri:city:hall", ends=60 * DAY)
    identifier = _identifier(_plain(ca))
    assert _who(identifier, issued.pem, times=Times.exactly((NOW_S + 29 * 86_400) * 1000)) == "hall"
    assert _who(identifier, issued.pem, times=Times.exactly((NOW_S + 31 * 86_400) * 1000)) is None


def test_what_is_remembered_ends_with_the_trust_it_was_found_in(ca: Authority, tmp_path: Path) -> None:
    issued = ca.issue("remembered", "uri:city:hall")
    identifier = _identifier(_plain(ca))
    assert _who(identifier, issued.pem) == "hall"
    for trust in (NOBODY, _plain(Authority(tmp_path / "other")), _plain(Authority(tmp_path / "namesake", "ca"))):
        identifier.trust = trust
        assert _who(identifier, issued.pem) is None
    identifier.trust = _plain(ca)
    assert _who(identifier, issued.pem) == "hall"


def test_remembering_is_bounded(ca: Authority) -> None:
    identifier = Identifier(Identity(remembered_tokens=2), 4096)
    identifier.trust = _plain(ca)
    issued = [ca.issue(f"many-{number}", "uri:city:hall") for number in range(10)]
    assert [_who(identifier, one.pem) for one in (*issued, *issued)] == ["hall"] * 20
    assert len(identifier.remembered) == 8


@pytest.mark.parametrize("form", ["pem", "der"])
def test_revocation_lists(ca: Authority, form: str) -> None:
    lost, kept = ca.issue("lost", "uri:city:hall"), ca.issue("kept", "uri:city:hall")
    lists = ca.revoke(lost)
    if form == "der":
        lists = x509.load_pem_x509_crl(lists).public_bytes(Encoding.DER)
    identifier = _identifier(read_trust(ca.own.pem, lists))
    assert (_who(identifier, lost.pem), _who(identifier, kept.pem)) == (None, "hall")
    ends_ms = int(x509.load_pem_x509_crl(ca.revoke()).next_update_utc.timestamp()) * 1000  # type: ignore[union-attr]
    assert _who(identifier, kept.pem, times=Times(NOW.wall_ms, NOW.wall_ms, ends_ms)) is None, "past its nextUpdate"


def test_each_authority_needs_a_list_of_its_own(ca: Authority, tmp_path: Path) -> None:
    other = Authority(tmp_path, "other")
    trust = read_trust(ca.own.pem + other.own.pem, ca.revoke())
    identifier = _identifier(trust)
    assert _who(identifier, ca.issue("listed", "uri:city:hall").pem) == "hall"
    assert _who(identifier, other.issue("unlisted", "uri:city:hall").pem) is None
    assert trust.without_revocations() == ["CN=other"]


def test_the_newest_list_counts(ca: Authority) -> None:
    lost = ca.issue("lost-again", "uri:city:hall")
    older, newer = ca.revoke(issued=-3 * DAY), ca.revoke(lost, issued=-2 * DAY)
    for lists in (older + newer, newer + older):
        assert _who(_identifier(read_trust(ca.own.pem, lists)), lost.pem) is None


def test_lists_that_cannot_be_read_refuse_everybody(ca: Authority) -> None:
    assert _who(_identifier(without_lists(ca.own.pem)), ca.issue("good", "uri:city:hall").pem) is None


def test_who_is_no_authority_vouches_for_nobody(ca: Authority) -> None:
    with pytest.raises(MALFORMED, match="not an authority's"):
        read_trust(ca.own.pem + ca.issue("good", "uri:city:hall").pem, None)


@pytest.mark.parametrize("what", ["server", "noise", "cut"])
def test_what_is_no_client_certificate_is_refused(ca: Authority, what: str) -> None:
    good = ca.issue("good", "uri:city:hall")
    pem = {
        "server": ca.issue("server", "uri:city:hall", usage=(SERVERS,)).pem,
        "noise": b"noise",
        "cut": good.pem[: len(good.pem) // 2],
    }[what]
    assert _who(_identifier(_plain(ca)), pem) is None


def test_a_certificate_without_an_extended_usage_is_for_clients_too(ca: Authority) -> None:
    assert _who(_identifier(_plain(ca)), ca.issue("any", "uri:city:hall", usage=()).pem) == "hall"


def test_the_thumbprint_is_the_one_that_clients_compute(ca: Authority) -> None:
    issued = ca.issue("print", "uri:city:hall")
    assert read_certificate(issued.pem).thumbprint == thumbprint(issued.file)
    assert len(thumbprint(issued.file)) == 43
