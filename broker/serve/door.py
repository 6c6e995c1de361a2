"""Where a front takes connections: the sockets that it was given, in cleartext or under the TLS that is in force.

A changed certificate is for new connections; the socket stays open while the servers on it change. What must not go in here:
what is spoken on a connection.
"""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import Callable, Sequence

from broker.config import Config
from broker.serve.front_tls import FrontTls

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
        """Take connections."""
        old, self._servers = self._servers, []
        for descriptors, ask_clients in ((self._sockets, True), (self._token_sockets, False)):
            context = self._tls.context(ask_clients=ask_clients) if self._tls else None
            self._servers += [await self._serve(descriptor, context) for descriptor in descriptors]
        for server in old:
            server.close()

    async def run(self) -> None:
        """Follow changes of the certificates until cancelled."""
        while self._tls is not None:
            await self._tls.changed()
            await self.open()

    def close(self) -> None:
        """Take no more connections; those that there are stay."""
        for server in self._servers:
            server.close()

    async def _serve(self, descriptor: int, context: ssl.SSLContext | None) -> asyncio.Server:
        listening = socket.socket(fileno=socket.dup(descriptor))
        timeout_s = self._handshake_s if context else None
        return await asyncio.get_running_loop().create_server(
            self._protocol, sock=listening, ssl=context, backlog=_BACKLOG, ssl_handshake_timeout=timeout_s
        )
