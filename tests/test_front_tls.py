"""Fronts behind TLS: a certificate that changes, who is known by one, and what a consumer cannot say of himself.

What TLS is in general is in test_tls.py and test_mtls.py, which run with one front. What must not go in here: cleartext.
"""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
import ssl
import time
from collections.abc import Iterator
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID

from broker.client import AsyncClient, TokenRefused, tls
from broker.v1.exchange_pb2 import CallRequest
from broker.v1.exchange_pb2_grpc import ExchangeServiceStub
from tests.support.calling import WHO, ask, put
from tests.support.catalogue import INTERFACE, PURPOSE, grant
from tests.support.certificates import LOOPBACK, SERVERS, Authority, replace
from tests.support.provider import Register
from tests.support.running import eventually, wait_until
from tests.test_fronts import Load, natively
from tests.test_mtls import HALL, Site


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("tls"))
    site.broker.environment |= {"BROKER__GRPC__FRONTS": "2"}
    site.broker.start()
    yield site
    site.broker.kill()


@pytest.fixture
async def secure(site: Site, register: Register) -> Site:
    register.add(WHO, "张三")
    grants = tuple(grant(id=f"g-{who.id}", consumer=who.id) for who in site.consumers())
    await put(site.broker, register, consumers=site.consumers(), grants=grants)
    return site


async def test_a_certificate_is_replaced_and_no_new_connection_fails(secure: Site) -> None:
    credentials = tls(secure.ca.own.file)
    opened = lambda options: grpc.aio.secure_channel(secure.token_target, credentials, options=options)  # noqa: E731
    async with Load(secure.broker, 1, coming=4, open=opened) as load:
        for number in range(3):
            issued = secure.ca.issue(f"server-{number}", usage=(SERVERS,), addresses=LOOPBACK)
            replace(secure.server.key_file, issued.key_pem)
            replace(secure.server.file, issued.pem)
            await asyncio.to_thread(wait_until, lambda issued=issued: _all_show(secure, issued.pem))
            await load.goes_on(5)
    assert load.failures == []


def _all_show(site: Site, pem: bytes) -> bool:
    """Whether twenty connections in a row, which both fronts take some of, are shown this certificate."""
    host, port = site.token_target.split(":")
    return all(ssl.get_server_certificate((host, int(port))).strip() == pem.decode().strip() for _ in range(20))


async def test_who_shows_a_certificate_is_answered_natively_until_it_is_revoked(secure: Site) -> None:
    lost = secure.ca.issue("lost", "uri:spiffe://city/tax-hall")
    async with secure.client(lost) as client:
        await eventually(lambda: _are_answered_natively(secure, client))
        replace(secure.lists, secure.ca.revoke(lost))
        began = time.monotonic()
        await eventually(lambda: _is_refused(client))
        print(f"refused {time.monotonic() - began:.2f} s after its revocation")  # noqa: T201
        assert time.monotonic() - began < 3
    replace(secure.lists, secure.ca.revoke())


async def _are_answered_natively(site: Site, client: AsyncClient) -> bool:
    """Whether the front itself answers five in a row: it relays until it has what the core knows of the caller."""
    before = natively(site.broker)
    answers = [await ask(client) for _ in range(5)]
    return {answer.provenance.source for answer in answers} == {"CACHE"} and natively(site.broker) == before + 5


async def _is_refused(client: AsyncClient) -> bool:
    try:
        await ask(client)
    except TokenRefused:
        return True
    return False


async def test_nobody_can_say_of_himself_whose_certificate_was_verified(secure: Site) -> None:
    stolen = ssl.PEM_cert_to_DER_cert(secure.hall.pem.decode())
    nobody = secure.ca.issue("gateway", "uri:spiffe://city/gateway")
    files = {secure.broker.target: (nobody.file, nobody.key_file), secure.token_target: ()}
    forged = (("broker-relay-certificate-bin", stolen),)
    assert await secure.answers(secure.hall), "with the certificate itself"
    for target, shown in files.items():
        async with grpc.aio.secure_channel(target, tls(secure.ca.own.file, *shown)) as channel:
            stub: Any = ExchangeServiceStub(channel)
            asked = CallRequest(interface=INTERFACE, arguments={"resident_id": WHO}, purpose=PURPOSE)
            with pytest.raises(grpc.aio.AioRpcError) as error:
                await stub.Call(asked, metadata=forged, timeout=5)
            assert error.value.code() is grpc.StatusCode.UNAUTHENTICATED


async def test_an_authority_is_trusted_without_the_one_above_it(secure: Site) -> None:
    between = Authority(secure.ca.directory / "between", "between", secure.ca)
    newcomer = between.issue("newcomer", HALL)
    replace(secure.lists, secure.ca.revoke() + between.revoke())
    replace(secure.bundle, between.own.pem)
    try:
        await eventually(lambda: secure.answers(newcomer))
    finally:
        replace(secure.bundle, secure.ca.own.pem)
        replace(secure.lists, secure.ca.revoke())
    await eventually(lambda: secure.answers(secure.hall))


async def test_what_openssl_refuses_is_not_taken_and_the_next_set_is(secure: Site) -> None:
    weak = rsa.generate_private_key(
        65537, 1024
    )  # refused by OpenSSL's security level, not by who checks whether key and chain fit
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "weak")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, weak.public_key(), 1, now, now + dt.timedelta(days=1))
    replace(secure.server.key_file, weak.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    replace(secure.server.file, builder.sign(weak, SHA256()).public_bytes(Encoding.PEM))
    refused = "the new certificates cannot be taken"
    await asyncio.to_thread(wait_until, lambda: refused in secure.broker.log_file.read_text())
    assert await secure.answers(secure.hall), "the last ones stay in force"
    good = secure.ca.issue("server-good", usage=(SERVERS,), addresses=LOOPBACK)
    replace(secure.server.key_file, good.key_pem)
    replace(secure.server.file, good.pem)
    await asyncio.to_thread(wait_until, lambda: _all_show(secure, good.pem))


async def test_who_does_not_speak_h2_gets_no_frames(secure: Site) -> None:
    context = ssl.create_default_context(cafile=str(secure.ca.own.file))
    host, port = secure.token_target.split(":")
    reader, writer = await asyncio.open_connection(host, int(port), ssl=context)
    with contextlib.suppress(ConnectionError):
        assert await asyncio.wait_for(reader.read(), 5) == b""
    writer.close()
