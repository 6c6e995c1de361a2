"""TLS of the broker itself: versions, rotation under load, and what a start refuses."""

from __future__ import annotations

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from cryptography import x509

from broker.client import AsyncClient, TokenSource, tls
from tests.support.calling import WHO, ask
from tests.support.catalogue import CONSUMER, catalogue
from tests.support.certificates import LOOPBACK, SERVERS, Authority, Issued, replace
from tests.support.ports import free_port
from tests.support.provider import Register
from tests.support.running import RunningBroker, eventually


class Site:
    """A broker with TLS that asks nobody for a certificate."""

    def __init__(self, directory: Path) -> None:
        self.ca = Authority(directory / "ca")
        self.server = self.issue("server")
        self.broker = RunningBroker(
            directory,
            BROKER__GRPC__TLS__CERTIFICATE_FILE=str(self.server.file),
            BROKER__GRPC__TLS__KEY_FILE=str(self.server.key_file),
        )

    def issue(self, name: str) -> Issued:
        return self.ca.issue(name, usage=(SERVERS,), addresses=LOOPBACK)

    def client(self) -> AsyncClient:
        tokens = TokenSource(CONSUMER, self.broker.key_file)
        return AsyncClient(self.broker.target, tokens, credentials=tls(self.ca.own.file))

    def shown(self) -> x509.Certificate:
        """The certificate that a new connection is shown."""
        with self.handshake(self.trusting()) as connection:
            return x509.load_der_x509_certificate(connection.getpeercert(binary_form=True) or b"")

    def trusting(self) -> ssl.SSLContext:
        context = ssl.create_default_context(cafile=str(self.ca.own.file))
        context.set_alpn_protocols(["h2"])
        return context

    @contextlib.contextmanager
    def handshake(self, context: ssl.SSLContext) -> Iterator[ssl.SSLSocket]:
        host, _, port = self.broker.target.rpartition(":")
        with socket.create_connection((host, int(port))) as plain, context.wrap_socket(plain, server_hostname=host) as secure:
            yield secure

    async def shows(self, issued: Issued) -> bool:
        return await asyncio.to_thread(self.shown) == issued.certificate


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    site = Site(tmp_path_factory.mktemp("tls"))
    site.broker.start()
    yield site
    site.broker.kill()


@pytest.fixture
async def ready(site: Site, register: Register) -> Site:
    register.add(WHO, "张三")
    await site.broker.put(catalogue(register.base_url, site.broker.public_key))
    return site


@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3])
def test_versions_of_today_are_spoken(site: Site, version: ssl.TLSVersion) -> None:
    context = site.trusting()
    context.minimum_version = context.maximum_version = version
    with site.handshake(context) as connection:
        assert connection.version() == version.name.replace("_", ".")
        assert connection.selected_alpn_protocol() == "h2"


@pytest.mark.filterwarnings("ignore:ssl.TLSVersion.*:DeprecationWarning")
@pytest.mark.parametrize("version", [ssl.TLSVersion.TLSv1, ssl.TLSVersion.TLSv1_1])
def test_versions_of_the_past_are_refused(site: Site, version: ssl.TLSVersion) -> None:
    past = site.trusting()
    past.minimum_version = past.maximum_version = version
    past.set_ciphers("ALL:@SECLEVEL=0")
    if not _speaks(past, site.server):
        pytest.skip(f"this Python cannot speak {version.name} itself")
    with pytest.raises((ssl.SSLError, ConnectionError)), site.handshake(past):
        pass


def _speaks(client: ssl.SSLContext, server: Issued) -> bool:
    """Whether two ends in memory, the other one accepting anything, come to terms."""
    accepting = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    accepting.minimum_version = ssl.TLSVersion.TLSv1
    accepting.set_ciphers("ALL:@SECLEVEL=0")
    accepting.load_cert_chain(server.file, server.key_file)
    there, back = ssl.MemoryBIO(), ssl.MemoryBIO()
    ends = [client.wrap_bio(back, there, server_hostname="127.0.0.1"), accepting.wrap_bio(there, back, server_side=True)]
    done: set[int] = set()
    for turn in range(8):
        try:
            ends[turn % 2].do_handshake()
            done.add(turn % 2)
        except ssl.SSLWantReadError:
            continue
        except ssl.SSLError:
            return False
    return done == {0, 1}


async def test_certificates_rotate_under_load_and_no_call_fails(ready: Site) -> None:
    calls, stop = 0, asyncio.Event()

    async def keep_asking(*, anew: bool) -> None:
        nonlocal calls
        async with contextlib.AsyncExitStack() as stack:
            client = await stack.enter_async_context(ready.client())
            while not stop.is_set():
                if anew:
                    client = await stack.enter_async_context(ready.client())
                await ask(client)
                calls += 1

    load = [asyncio.create_task(keep_asking(anew=number % 2 == 0)) for number in range(8)]
    for number in range(4):
        issued = ready.issue(f"server-{number}")
        replace(ready.server.key_file, issued.key_pem)  # for a moment the two do not fit, and the last set stays in force
        replace(ready.server.file, issued.pem)
        await eventually(lambda issued=issued: ready.shows(issued))
        before = calls
        await eventually(lambda before=before: _more(lambda: calls, before + 50))
    stop.set()
    await asyncio.gather(*load)


async def _more(count: Callable[[], int], than: int) -> bool:
    return count() > than


@pytest.mark.parametrize("what", ["key of another", "half a certificate", "no key", "nothing"])
async def test_a_set_that_does_not_fit_is_not_taken_and_is_told(ready: Site, what: str) -> None:
    good = ready.issue("good")
    replace(ready.server.key_file, good.key_pem)
    replace(ready.server.file, good.pem)
    await eventually(lambda: ready.shows(good))
    before = _failures(ready)
    if what == "no key":
        ready.server.key_file.unlink()
    else:
        wrong = {"key of another": ready.issue("new").pem, "half a certificate": good.pem[:200], "nothing": b""}[what]
        replace(ready.server.file, wrong)
    await eventually(lambda: _counted(ready, before))
    assert await ready.shows(good)
    async with ready.client() as client:
        await ask(client)
    told = ready.broker.log_file.read_text()
    assert "the last ones stay in force" in told
    assert "PRIVATE KEY" not in told
    replace(ready.server.key_file, good.key_pem)
    replace(ready.server.file, good.pem)


async def _counted(site: Site, before: float) -> bool:
    return await asyncio.to_thread(_failures, site) > before


def _failures(site: Site) -> float:
    line = 'broker_tls_reload_failures_total{what="certificate"} '
    return next((float(found[len(line) :]) for found in site.broker.metrics().splitlines() if found.startswith(line)), 0.0)


REFUSED = {
    "certificate missing": (3, "grpc.tls.certificate_file"),
    "key missing": (6, "grpc.tls.key_file"),
    "key of another": (3, "is not the key of"),
    "key with a password": (3, "without a password"),
    "certificate is none": (3, "does not hold a certificate"),
    "authorities missing": (3, "grpc.tls.client_ca_file"),
    "authorities are none": (3, "grpc.tls.client_ca_file"),
    "authority is none": (3, "is not an authority's"),
    "lists missing": (3, "grpc.tls.client_crl_file"),
    "lists are none": (3, "grpc.tls.client_crl_file"),
    "second address taken": (4, "grpc.tls.token_address"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_a_start_that_cannot_succeed_is_one_line(tmp_path: Path, what: str) -> None:
    ca = Authority(tmp_path / "ca")
    server, other = ca.issue("server", usage=(SERVERS,)), ca.issue("other")
    locked = b"-----BEGIN ENCRYPTED PRIVATE KEY-----\nMIIB\n-----END ENCRYPTED PRIVATE KEY-----\n"
    nowhere, noise = tmp_path / "nowhere", replace(tmp_path / "noise", b"noise\n")
    with socket.create_server(("127.0.0.1", 0)) as taken:
        changes = {
            "certificate missing": {"CERTIFICATE_FILE": nowhere},
            "key missing": {"KEY_FILE": nowhere},
            "key of another": {"KEY_FILE": other.key_file},
            "key with a password": {"KEY_FILE": replace(tmp_path / "locked", locked)},
            "certificate is none": {"CERTIFICATE_FILE": noise},
            "authorities missing": {"CLIENT_CA_FILE": nowhere},
            "authorities are none": {"CLIENT_CA_FILE": noise},
            "authority is none": {"CLIENT_CA_FILE": other.file},
            "lists missing": {"CLIENT_CRL_FILE": nowhere},
            "lists are none": {"CLIENT_CRL_FILE": noise},
            "second address taken": {"TOKEN_ADDRESS": f"127.0.0.1:{taken.getsockname()[1]}"},
        }[what]
        files = {"CERTIFICATE_FILE": server.file, "KEY_FILE": server.key_file, "CLIENT_CA_FILE": ca.own.file} | changes
        settings = {f"BROKER__GRPC__TLS__{key}": str(value) for key, value in files.items()}
        done = RunningBroker(tmp_path).run("serve", BROKER__LOG__LEVEL="error", **settings)
    code, said = REFUSED[what]
    assert (done.returncode, done.stderr.count("\n")) == (code, 1), done.stderr
    assert said in done.stderr


def test_beyond_loopback_needs_tls_or_so_many_words(tmp_path: Path) -> None:
    broker = RunningBroker(tmp_path, BROKER__GRPC__ADDRESS=f"0.0.0.0:{free_port()}")
    done = broker.run("serve")
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert "grpc.insecure = true" in done.stderr
