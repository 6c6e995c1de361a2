"""TLS of the consumers' servers: the files it is made of, read at the start and again whenever they change.

Certificate, key and client authorities are one set: a set in which something is missing, or whose key does not fit, is not
taken, and the last good one stays in force. The revocation lists are judged apart and the other way round: when they cannot be
read, no client certificate is good until they can. A change is seen by new connections, and as far as it is about clients by
the next call on open ones (`policy/certificates.py`). TLS 1.2 and 1.3 and ALPN are gRPC's own.

gRPC for Python either requires a certificate of everybody on a port or asks nobody for one; hence the two addresses. What must
not go in here: what a certificate means.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import NamedTuple

import grpc
import structlog

from broker.audit.changes import Thing
from broker.config import Config
from broker.errors import ConfigurationError, StartupError
from broker.policy.certificates import MALFORMED, Trust, read_trust, without_lists
from broker.policy.identify import Identifier
from broker.serve import fingerprints
from broker.serve.tls_files import Files, Material, first_line, read_file
from broker.telemetry import metrics

log = structlog.get_logger("tls")

_LOOK_EVERY_S = 0.25


class Found(NamedTuple):
    """What the files hold: a set that fits, whom it trusts, and the revocation lists as they are read, if they are good."""

    material: Material
    trust: Trust
    lists: bytes | None

    def fingerprints(self) -> Mapping[str, Thing]:
        """Return what the audit log says of it."""
        return fingerprints.of_tls(self.material, self.lists)


class Tls:
    """What is in force. Knows the files, and the identifier that is told of client authorities."""

    def __init__(self, files: Files, identifier: Identifier) -> None:
        """Read everything for the first time; `on_trust` is called whenever other clients are trusted.

        `before` is awaited before anything else comes into force, with what the audit log is to say of it.

        Raises:
            StartupError: in one line, naming the setting.
        """
        self._files = files
        self._identifier = identifier
        self.on_trust: Callable[[], None] = lambda: None
        self.before: Callable[[Mapping[str, Thing]], Awaitable[None]] | None = None
        self._seen = files.look()
        self._take(_read_all(files))

    def fingerprints(self) -> Mapping[str, Thing]:
        """Return what the audit log says of what is in force."""
        return self._found.fingerprints()

    def credentials(self, *, ask_clients: bool) -> grpc.ServerCredentials:
        """Make a port's credentials; each new connection is given what is in force then."""
        given = self._material

        def changed() -> grpc.ServerCertificateConfiguration | None:  # called by gRPC's own threads
            nonlocal given
            material = self._material
            if material is given:
                return None
            given = material
            return _configuration(material, ask_clients)

        first = _configuration(given, ask_clients)
        return grpc.dynamic_ssl_server_credentials(first, changed, ask_clients)  # type: ignore[arg-type]  # None: no change

    async def run(self) -> None:
        """Look for changes until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            try:
                await self._follow()
            except Exception as error:
                metrics.tls_reload_failures.labels("certificate").inc()
                log.error("changed certificates cannot be taken", error=type(error).__name__)

    async def _follow(self) -> None:
        seen = await asyncio.to_thread(self._files.look)
        if seen != self._seen:
            found = await asyncio.to_thread(_read_again, self._files, self._found)
            if self.before is not None:
                await self.before(found.fingerprints())
            self._take(found)
            self._seen = seen

    def _take(self, found: Found) -> None:
        material, trust, _ = found
        self._found, self._material, self._identifier.trust = found, material, trust
        self.on_trust()
        metrics.tls_ends.labels("certificate").set(material.ends)
        if ends := [known.revocations.ends_ms for known in trust.authorities if known.revocations]:
            metrics.tls_ends.labels("client_crl").set(min(ends) / 1000)
        log.info("tls in force", clients=len(trust.authorities))
        if missing := trust.without_revocations():
            log.warning("client certificates are refused for want of a revocation list", authorities=missing)


def open_tls(config: Config, identifier: Identifier) -> Tls | None:
    """Return what the settings say; None for cleartext. Raises `StartupError`."""
    return Tls(Files.of(config), identifier) if config.grpc.tls.certificate_file else None


def _read_all(files: Files) -> Found:
    material = Material(files)
    return Found(material, *_read_trust(files, material))


def _read_again(files: Files, last: Found) -> Found:
    """Read what can be read; keep the set that is in force in the place of one that is not good."""
    held = last.material
    try:
        held = Material(files)
    except StartupError as error:
        _failed("certificate", "the new certificates are not good; the last ones stay in force", error)
    try:
        return Found(held, *_read_trust(files, held))
    except StartupError as error:
        _failed("client_crl", "the revocation lists are not good; no client certificate is taken", error)
        return Found(held, without_lists(held.authorities), None)


def _read_trust(files: Files, material: Material) -> tuple[Trust, bytes | None]:
    if not files.client_ca:
        return Trust(), None
    lists = read_file("client_crl_file", files.client_crl) if files.client_crl else None
    try:
        return read_trust(material.authorities, lists), lists
    except MALFORMED as error:
        raise ConfigurationError(f"grpc.tls.client_crl_file: {first_line(error)}") from None


def _failed(what: str, said: str, error: StartupError) -> None:
    metrics.tls_reload_failures.labels(what).inc()
    log.error(said, reason=str(error))


def _configuration(material: Material, ask_clients: bool) -> grpc.ServerCertificateConfiguration:
    authorities = material.authorities if ask_clients else None
    return grpc.ssl_server_certificate_configuration([(material.key, material.chain)], root_certificates=authorities)
