"""Where a front takes connections: the sockets that it was given, in cleartext or under the TLS that is in force.

A changed certificate is for new connections; the socket stays open while the servers on it change. What must not go in here:
what is spoken on a connection.
"""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from collections.abc import Callable, Sequence

import structlog

from broker.config import Config
from broker.errors import StartupError
from broker.serve.front_tls import FrontTls

log = structlog.get_logger("front")

_BACKLOG = 1024


class Door:
    """Open until closed."""

    def __init__(
        self,
        settings: Config,
        protocol: Callable[[], asyncio.Protocol],
        sockets: Sequence[int],
        token_sockets: Sequence[int],
    ) -> None:
        """Take descriptors of listening sockets; of who comes by the latter no certificate is asked.

        Raises:
            StartupError: the files of TLS are not good.
        """
        self._protocol = protocol
        self._sockets = sockets
        self._token_sockets = token_sockets
        self._handshake_s = settings.front.handshake_timeout_ms / 1000
        self._tls = FrontTls(settings) if settings.grpc.tls.certificate_file else None
        self._servers: list[asyncio.Server] = []

    async def open(self) -> None:
        """Take connections, from now on under the TLS that is in force.

        Raises:
            ConfigurationError: OpenSSL does not take what is in the files.
        """
        contexts = [self._tls.context(ask_clients=ask_clients) if self._tls else None for ask_clients in (True, False)]
        places = zip((self._sockets, self._token_sockets), contexts, strict=True)
        old = self._servers
        self._servers = [await self._serve(one, context) for descriptors, context in places for one in descriptors]
        for server in old:
            server.close()

    async def run(self) -> None:
        """Follow changes of the certificates until cancelled. Whatever is wrong with them, the next change is looked at."""
        while self._tls is not None:
            await self._tls.changed()
            try:
                await self.open()
            except (StartupError, OSError) as error:
                why = str(error) if isinstance(error, StartupError) else type(error).__name__
                log.error("the new certificates cannot be taken; the last ones stay in force", reason=why)

    def close(self) -> None:
        """Take no more connections; those that there are stay. Whoever comes now is refused, not kept waiting."""
        for server in self._servers:
            server.close()
        for descriptor in (*self._sockets, *self._token_sockets):
            os.close(descriptor)

    async def _serve(self, descriptor: int, context: ssl.SSLContext | None) -> asyncio.Server:
        listening = socket.socket(fileno=socket.dup(descriptor))
        timeout_s = self._handshake_s if context else None
        return await asyncio.get_running_loop().create_server(
            self._protocol, sock=listening, ssl=context, backlog=_BACKLOG, ssl_handshake_timeout=timeout_s
        )
