"""Opens the sockets that consumers connect to. Imports no gRPC: the supervisor holds them for the fronts.

What must not go in here: what is spoken on them.
"""

from __future__ import annotations

import errno
import socket

from broker.errors import PortTaken

_NOT_OF_THIS_MACHINE = (errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT)
_BACKLOG = 1024


def listen(setting: str, address: str) -> list[socket.socket]:
    """Listen on every address that the host stands for.

    Raises:
        PortTaken: one of them is in use or not allowed.
    """
    try:
        opened = list(_bound(address).values())
        for one in opened:
            one.listen(_BACKLOG)
    except OSError as error:
        raise PortTaken(f"{setting}: cannot listen on {address} ({error.strerror})") from error
    return opened


def addresses(address: str) -> list[str]:
    """Return every address, as host:port, that the host stands for and that can be listened on now.

    Raises:
        OSError: one of them cannot, or there is none.
    """
    found = _bound(address)
    for probe in found.values():
        probe.close()
    return [f"[{host}]:{port}" if ":" in host else f"{host}:{port}" for host, port in found]


def _bound(address: str) -> dict[tuple[str, int], socket.socket]:
    """Resolve the host once and bind each of its addresses; hosts(5) may have a name twice.

    A name may stand for an address that this machine does not have (`localhost` for ::1 without IPv6); nobody can take that.
    """
    host, _, port = address.rpartition(":")
    found: dict[tuple[str, int], socket.socket] = {}
    missing: OSError | None = None
    for family, _, _, _, where in socket.getaddrinfo(host.strip("[]"), int(port), type=socket.SOCK_STREAM):
        exact = (str(where[0]), int(where[1]))
        try:
            if exact not in found:
                found[exact] = _bind(family, exact)
        except OSError as error:
            if error.errno not in _NOT_OF_THIS_MACHINE:
                raise
            missing = error
    if missing is not None and not found:
        raise missing
    return found


def _bind(family: socket.AddressFamily, where: tuple[str, int]) -> socket.socket:
    made = socket.socket(family)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            made.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        made.bind(where)
    except OSError:
        made.close()
        raise
    return made
