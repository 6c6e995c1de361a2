"""The connection from a front to the core: an asyncio protocol for `loop.create_unix_connection`."""

import asyncio
from collections.abc import Callable

from broker._native.front import Front
from broker._native.session import Session

class Upstream(Session, asyncio.Protocol):
    """HTTP/2 with the core. Once connected it is `front.core`; when it is lost, `on_lost` is called; calls get UNAVAILABLE."""

    def __init__(self, front: Front, on_lost: Callable[[], None]) -> None: ...
