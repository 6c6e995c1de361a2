"""Where servers of tests listen."""

from __future__ import annotations

import contextlib
import random
import socket

_NOT_HANDED_OUT = range(10_000, 32_000)  # by any system to who connects, or binds to port 0: nobody takes it meanwhile


def free_port() -> int:
    """Return a port that is free, and still is when the broker has started."""
    while True:
        port = random.choice(_NOT_HANDED_OUT)
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
