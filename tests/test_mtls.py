"""Client certificates against a running broker: who is let in as whom, and what ends while a connection is open."""

from __future__ import annotations

import asyncio
import datetime as dt
import time
from collections.abc import Iterator
from pathlib import Path

import grpc
import msgspec
import pytest
from cryptography import x509
from grpc_health.v1 import health_pb2, health_pb2_grpc

from broker.client import AsyncClient, CallFailed, TokenRefused, TokenSource, generate_key, issue_token, load_key, tls
from broker.client.credentials import thumbprint
from broker.model.catalogue import Consumer
from tests.support.calling import WHO, ask
from tests.support.catalogue import CONSUMER, INTERFACE, PURPOSE, catalogue, consumer, grant
from tests.support.certificates import DAY, LOOPBACK, SERVERS, Authority, Issued, replace, self_signed
from tests.support.ports import free_port
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually

HALL, NOTARY = "uri:spiffe://city/tax-hall", "dns:notary.city.example"
STRICT, EXACT = "uri:spiffe://city/strict", "dns:wild.city.example"


class Site:
    """A broker with TLS, its authority, and consumers of each kind; whatever a test changes it puts back."""

    def __init__(self, directory: Path) -> None:
        self.ca = Authority(directory / "ca")
        self.server = self.ca.issue("server", usage=(SERVERS,), addresses=LOOPBACK)
        self.bundle = replace(directory / "clients.pem", self.ca.own.pem)
        self.lists = replace(directory / "clients.crl", self.ca.revoke())
        self.token_target = f"127.0.0.1:{free_port()}"
        self.broker = RunningBroker(
            directory,
            BROKER__GRPC__TLS__CERTIFICATE_FILE=str(self.server.file),
            BROKER__GRPC__TLS__KEY_FILE=str(self.server.key_file),
            BROKER__GRPC__TLS__CLIENT_CA_FILE=str(self.bundle),
            BROKER__GRPC__TLS__CLIENT_CRL_FILE=str(self.lists),
            BROKER__GRPC__TLS__TOKEN_ADDRESS=self.token_target,
        )
        self.keys = {name: directory / f"{name}.key" for name in ("notary", "strict", "token-only")}
        self.public_keys = {name: generate_key(file) for name, file in self.keys.items()}
        self.hall = self.ca.issue("hall", HALL)
        self.notary = self.ca.issue("notary", NOTARY)
        self.strict = self.ca.issue("strict", STRICT)

    def consumers(self) -> tuple[Consumer, ...]:
        keyed = {name: consumer(public, id=name) for name, public in self.public_keys.items()}
        alter = msgspec.structs.replace
        return (
            alter(consumer(self.broker.public_key), certificates=(HALL,)),
            alter(keyed["notary"], certificates=(NOTARY, EXACT)),
            alter(keyed["strict"], certificates=(STRICT,), identity="both"),
            keyed["token-only"],
        )

    def tokens(self, name: str, bound_to: Issued | None = None) -> TokenSource:
        key_file = self.broker.key_file if name == CONSUMER else self.keys[name]
        return TokenSource(name, key_file, certificate_file=bound_to.file if bound_to else None)

    def client(self, shown: Issued | None, tokens: TokenSource | None = None) -> AsyncClient:
        """A client with a certificate, or one of the address that asks for none."""
        files = (shown.file, shown.key_file) if shown else ()
        return AsyncClient(
            self.broker.target if shown else self.token_target, tokens, credentials=tls(self.ca.own.file, *files)
        )

    async def answers(self, shown: Issued | None, tokens: TokenSource | None = None) -> bool:
        """Whether a caller is let in, over a connection of its own."""
        async with self.client(shown, tokens) as client:
            return await let_in(client)

    async def connects(self, shown: Issued) -> bool:
        """Whether the handshake lets somebody in, whoever it is: health is told to everybody behind it."""
        credentials = tls(self.ca.own.file, shown.file, shown.key_file)
        async with grpc.aio.secure_channel(self.broker.target, credentials) as channel:
            try:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest(), timeout=10)
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE
                return False
        return True


async def let_in(client: AsyncClient) -> bool:
    try:
        await ask(client)
    except TokenRefused as refusal:
        assert refusal.message == "a valid application token or client certificate is required"
        return False
    return True


async def shut_out(client: AsyncClient) -> bool:
    return not await let_in(client)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("tls"))
    site.broker.start()
    yield site
    site.broker.kill()


@pytest.fixture
async def ready(site: Site, register: Register) -> Site:
    register.add(WHO, "张三")
    grants = tuple(grant(id=f"g-{who.id}", consumer=who.id) for who in site.consumers())
    await site.broker.put(catalogue(register.base_url, site.broker.public_key, consumers=site.consumers(), grants=grants))
    await site.broker.purge(all=True)
    return site


async def test_a_certificate_alone_names_its_consumer(ready: Site) -> None:
    assert await ready.answers(ready.hall), "by a URI"
    assert await ready.answers(ready.notary), "by a DNS name"
    assert await ready.answers(ready.ca.issue("capitals", "dns:Notary.City.EXAMPLE")), "names of hosts have no case"
    assert not await ready.answers(ready.strict), "for whom both are needed"


async def test_a_token_alone_is_enough_where_no_certificate_is_asked_for(ready: Site) -> None:
    assert await ready.answers(None, ready.tokens("token-only"))
    assert await ready.answers(None, ready.tokens(CONSUMER))
    assert not await ready.answers(None, ready.tokens("strict"))
    assert not await ready.answers(None, ready.tokens(CONSUMER, ready.hall)), "it is bound to a certificate that is not shown"
    assert not await ready.answers(None)


async def test_both_must_belong_together(ready: Site) -> None:
    assert await ready.answers(ready.strict, ready.tokens("strict", ready.strict))
    assert await ready.answers(ready.hall, ready.tokens(CONSUMER, ready.hall))
    assert not await ready.answers(ready.hall, ready.tokens(CONSUMER)), "not bound"
    assert not await ready.answers(ready.hall, ready.tokens(CONSUMER, ready.notary)), "bound to another"
    assert not await ready.answers(ready.hall, ready.tokens(CONSUMER, ready.ca.issue("hall-2", HALL))), "to another of its own"
    assert not await ready.answers(ready.hall, ready.tokens("notary", ready.hall)), "somebody else's token, though bound"
    assert not await ready.answers(ready.hall, ready.tokens("token-only"))
    assert not await ready.answers(ready.strict, ready.tokens("strict"))


async def test_a_certificate_that_stands_for_nobody_leaves_the_token_to_decide(ready: Site) -> None:
    gateway = ready.ca.issue("gateway", "uri:spiffe://city/gateway")
    assert await ready.answers(gateway, ready.tokens("token-only"))
    assert await ready.answers(gateway, ready.tokens("token-only", gateway))
    assert not await ready.answers(gateway, ready.tokens("token-only", ready.hall))
    assert not await ready.answers(gateway, ready.tokens("strict", gateway)), "for whom its own certificate is needed"
    assert not await ready.answers(gateway)


@pytest.mark.parametrize(
    ("name", "names"),
    [
        ("common name only", ()),
        (CONSUMER, ()),
        (HALL, ()),
        ("wildcard", ("dns:*.city.example",)),
        ("two consumers", (HALL, NOTARY)),
        ("other path", ("uri:spiffe://city/tax-hall/",)),
        ("other case", ("uri:spiffe://city/TAX-HALL",)),
        ("other kind", ("dns:spiffe://city/tax-hall".replace("://", "."),)),
        ("nobody", ("uri:spiffe://city/nobody",)),
    ],
)
async def test_names_are_taken_literally(ready: Site, name: str, names: tuple[str, ...]) -> None:
    shown = ready.ca.issue(name.replace("/", "-"), *names)
    assert await ready.connects(shown), "the handshake has nothing against it"
    assert not await ready.answers(shown)


async def test_two_names_of_one_consumer_are_one(ready: Site) -> None:
    assert await ready.answers(ready.ca.issue("both-names", NOTARY, EXACT, "uri:spiffe://city/nobody"))


async def test_a_bad_certificate_is_not_let_in(ready: Site, tmp_path: Path) -> None:
    other, hour = Authority(tmp_path / "other"), dt.timedelta(hours=1)
    for shown in (
        ready.ca.issue("expired", HALL, ends=-hour),
        ready.ca.issue("not-yet", HALL, begins=hour),
        ready.ca.issue("server-only", HALL, usage=(SERVERS,)),
        other.issue("of-another-authority", HALL),
        Authority(tmp_path / "same", "ca").issue("of-a-namesake", HALL),
        self_signed(tmp_path, "self-signed", HALL),
    ):
        assert not await ready.connects(shown)
    with pytest.raises(CallFailed) as failure:
        async with AsyncClient(ready.broker.target, credentials=tls(ready.ca.own.file)) as client:
            await client.call(INTERFACE, {"resident_id": WHO}, purpose=PURPOSE)
    assert failure.value.code is grpc.StatusCode.UNAVAILABLE, "no certificate at all"


async def test_a_chain_is_as_good_as_its_issuer_in_the_bundle(ready: Site, tmp_path: Path) -> None:
    middle = Authority(tmp_path / "middle", "middle", parent=ready.ca)
    shown = middle.issue("below", HALL)
    replace(shown.file, shown.pem + middle.own.pem)
    async with ready.client(shown) as client:
        assert await shut_out(client), "the broker is told the certificate and not the chain"
        replace(ready.lists, ready.ca.revoke() + middle.revoke())
        replace(ready.bundle, ready.ca.own.pem + middle.own.pem)
        await eventually(lambda: let_in(client))
    replace(ready.bundle, ready.ca.own.pem)
    replace(ready.lists, ready.ca.revoke())
    await eventually(lambda: ready.answers(ready.hall))


async def test_a_revoked_certificate_ends_on_its_open_connection(ready: Site) -> None:
    lost, kept = ready.ca.issue("lost", HALL), ready.hall
    async with ready.client(lost) as thief, ready.client(kept) as owner:
        assert await let_in(thief)
        assert await let_in(owner)
        replace(ready.lists, ready.ca.revoke(lost))
        await eventually(lambda: shut_out(thief))
        assert await let_in(owner)
        assert not await ready.answers(lost), "nor on a new one"
        assert not await ready.answers(lost, ready.tokens(CONSUMER, lost)), "nor with a token"
    replace(ready.lists, ready.ca.revoke())


@pytest.mark.parametrize("what", ["expired", "of nobody", "in part only", "not a list", "empty", "missing"])
async def test_without_a_revocation_list_in_force_no_certificate_is_good(ready: Site, tmp_path: Path, what: str) -> None:
    partial = x509.IssuingDistributionPoint(
        full_name=None,
        relative_name=None,
        only_contains_user_certs=True,
        only_contains_ca_certs=False,
        only_some_reasons=None,
        indirect_crl=False,
        only_contains_attribute_certs=False,
    )
    content = {
        "expired": ready.ca.revoke(ends=-DAY),
        "of nobody": Authority(tmp_path, "ca").revoke(),  # the right name, another key
        "in part only": ready.ca.revoke(extension=partial),
        "not a list": b"-----BEGIN X509 CRL-----\nAAAA\n-----END X509 CRL-----\n",
        "empty": b"",
    }
    async with ready.client(ready.hall) as client:
        assert await let_in(client)
        replace(ready.lists, content[what]) if what in content else ready.lists.unlink()
        await eventually(lambda: shut_out(client))
        assert await ready.answers(None, ready.tokens(CONSUMER)), "tokens at the other address are not concerned"
        replace(ready.lists, ready.ca.revoke())
        await eventually(lambda: let_in(client))


async def refused(site: Site) -> bool:
    return not await site.connects(site.hall)


async def test_an_authority_that_is_taken_out_ends_its_certificates(ready: Site, tmp_path: Path) -> None:
    new = Authority(tmp_path / "new", "new")
    newcomer = new.issue("newcomer", HALL)
    async with ready.client(ready.hall) as old:
        assert await let_in(old)
        replace(ready.lists, ready.ca.revoke() + new.revoke())
        replace(ready.bundle, ready.ca.own.pem + new.own.pem)
        await eventually(lambda: ready.connects(newcomer))
        assert await let_in(old)
        await eventually(lambda: ready.answers(newcomer))  # the core reads the bundle for itself
        replace(ready.bundle, new.own.pem)
        await eventually(lambda: shut_out(old))
        await eventually(lambda: refused(ready))
        assert await ready.answers(newcomer)
    replace(ready.bundle, ready.ca.own.pem)
    replace(ready.lists, ready.ca.revoke())
    await eventually(lambda: ready.answers(ready.hall))


async def test_every_flipped_bit_of_a_bound_token_is_refused_on_its_connection(ready: Site) -> None:
    """A sample of them, each over the network; all of them in test_identify.py."""
    token = issue_token(
        CONSUMER,
        load_key(ready.broker.key_file),
        now_s=time.time(),
        bound_to=thumbprint(ready.hall.file),
    )
    shown = [token]
    credentials = tls(ready.ca.own.file, ready.hall.file, ready.hall.key_file)
    async with AsyncClient(ready.broker.target, lambda: shown[0], credentials=credentials) as client:
        assert await let_in(client)
        for position in range(0, len(token), 7):
            flipped = chr(ord(token[position]) ^ 1)
            shown[0] = token[:position] + flipped + token[position + 1 :]
            assert await shut_out(client)


async def test_the_command_line_asks_with_a_certificate_and_with_both(ready: Site) -> None:
    trusted = ("--ca-file", str(ready.ca.own.file))
    shown = ("--certificate-file", str(ready.strict.file), "--certificate-key-file", str(ready.strict.key_file))
    signed = ("--consumer", "strict", "--key-file", str(ready.keys["strict"]))
    known = {
        "BROKER_CA_FILE": str(ready.ca.own.file),
        "BROKER_CERTIFICATE_FILE": str(ready.hall.file),
        "BROKER_CERTIFICATE_KEY_FILE": str(ready.hall.key_file),
    }
    nobody = str(ready.keys["strict"])  # a key is no certificate
    for options, environment, code in (
        ((), known, 0),
        ((*trusted, *shown, *signed), {}, 0),
        ((*trusted, *shown), {}, 10),  # both are needed
        ((*trusted, *signed), {}, 10),  # the address asks for a certificate
        (trusted, {}, 2),  # known by nothing
        ((*shown[:2], *signed), {}, 2),  # a certificate without its key
        ((*signed[2:], *trusted), {}, 2),  # a key without whose it is
        (("--ca-file", "nowhere.pem", *signed), {}, 6),
        ((*trusted, "--certificate-file", nobody, "--certificate-key-file", nobody, *signed), {}, 6),
    ):
        call = ("call", INTERFACE, f"resident_id={WHO}", "--purpose", PURPOSE, "--target", ready.broker.target, "--json")
        done = await asyncio.to_thread(ready.broker.run, *call, *options, **environment)
        assert done.returncode == code, (options, done.stdout, done.stderr)


async def test_the_command_line_binds_tokens(ready: Site) -> None:
    issue = ("consumer", "issue-token", "strict", "--key-file", str(ready.keys["strict"]))
    bound = (await asyncio.to_thread(ready.broker.run, *issue, "--certificate-file", str(ready.strict.file))).stdout.strip()
    loose = (await asyncio.to_thread(ready.broker.run, *issue)).stdout.strip()
    credentials = tls(ready.ca.own.file, ready.strict.file, ready.strict.key_file)
    for token, good in ((bound, True), (loose, False)):
        async with AsyncClient(ready.broker.target, lambda token=token: token, credentials=credentials) as client:
            assert await let_in(client) == good
