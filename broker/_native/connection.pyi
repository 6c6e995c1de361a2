"""One consumer's connection to a front: an asyncio protocol, made by `loop.create_server(lambda: Connection(front))`."""

import asyncio

from broker._native.front import Front
from broker._native.session import Session

class Connection(Session, asyncio.Protocol):
    """HTTP/2 with a consumer. Over TLS the transport must have negotiated ALPN `h2`."""

    def __init__(self, front: Front) -> None: ...
