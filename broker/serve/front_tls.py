"""TLS of a front: contexts made of the files that the core is configured with, made anew whenever these change.

The chain of a client's certificate is verified here; whether it is good in any other way (revoked, whose it is) the core
judges, which is told of it. A set of files that does not fit together is not taken, the last good one stays. What must not go
in here: what a certificate means.
"""

from __future__ import annotations

import asyncio
import os
import ssl

import structlog

from broker.config import Config
from broker.errors import ConfigurationError, StartupError
from broker.serve.tls_files import Files, Material

log = structlog.get_logger("front")

_LOOK_EVERY_S = 0.25


class FrontTls:
    """What is in force."""

    def __init__(self, config: Config) -> None:
        """Read the files.

        Raises:
            StartupError: in one line, naming the setting.
        """
        self._files = Files.of(config)
        self._seen = self._files.look()
        self._material = Material(self._files)

    def context(self, *, ask_clients: bool) -> ssl.SSLContext:
        """Make a context of what is in force: TLS 1.2 or 1.3, ALPN h2.

        Raises:
            ConfigurationError: OpenSSL does not take it.
        """
        try:
            return self._context(ask_clients=ask_clients)
        except (ssl.SSLError, ValueError) as error:
            raise ConfigurationError(f"grpc.tls: OpenSSL refuses the files ({error})") from None

    def _context(self, *, ask_clients: bool) -> ssl.SSLContext:
        made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        made.minimum_version = ssl.TLSVersion.TLSv1_2
        made.options |= ssl.OP_NO_RENEGOTIATION | ssl.OP_NO_COMPRESSION | ssl.OP_SINGLE_ECDH_USE
        made.num_tickets = 0  # a session that is taken up again would not show its certificate
        made.set_ciphers("ECDHE+AESGCM:ECDHE+CHACHA20")
        made.set_alpn_protocols(["h2"])
        _load_chain(made, self._material)
        if ask_clients and self._material.authorities:
            made.verify_mode = ssl.CERT_REQUIRED
            made.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN  # an authority may be trusted without the one above it
            made.load_verify_locations(cadata=self._material.authorities.decode())
        return made

    async def changed(self) -> None:
        """Return once there is another set in force."""
        while True:
            await asyncio.sleep(_LOOK_EVERY_S)
            seen = self._files.look()
            if seen == self._seen:
                continue
            try:
                self._material = Material(self._files)
            except StartupError as error:
                log.error("the new certificates are not good; the last ones stay in force", reason=str(error))
                continue
            self._seen = seen
            return


def _load_chain(context: ssl.SSLContext, material: Material) -> None:
    """Give a context certificate and key as they were checked: OpenSSL reads files only, and those may have changed since.

    The file is in memory and has no name, so that the key is not written anywhere.
    """
    descriptor = os.memfd_create("tls")
    with os.fdopen(descriptor, "wb") as out:
        out.write(material.key + b"\n" + material.chain)
        out.flush()
        context.load_cert_chain(f"/proc/self/fd/{descriptor}")
