"""Sockets that consumers connect to: every address of a name, each once, and one line when one cannot be had.

What must not go in here: processes (test_fronts.py, test_refused_starts.py).
"""

from __future__ import annotations

import contextlib
import socket
from collections.abc import Iterator

import pytest

from broker.errors import PortTaken
from broker.serve.listen import addresses, listen
from tests.support.ports import free_port


@contextlib.contextmanager
def listening(address: str) -> Iterator[list[socket.socket]]:
    opened = listen("grpc.address", address)
    try:
        yield opened
    finally:
        for one in opened:
            one.close()


def resolved(*addresses: str, port: int) -> list[tuple[object, ...]]:
    """What a resolver may say, doubles included: hosts(5) may have a name twice."""
    families = {True: socket.AF_INET6, False: socket.AF_INET}
    return [(families[":" in one], socket.SOCK_STREAM, 6, "", (one, port)) for one in addresses]


def test_a_connection_is_taken_as_soon_as_it_listens() -> None:
    port = free_port()
    with listening(f"127.0.0.1:{port}") as (one,):
        socket.create_connection(("127.0.0.1", port), timeout=2).close()
        assert one.getsockname() == ("127.0.0.1", port)


def test_a_name_is_listened_on_at_each_of_its_addresses_once(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    found = resolved("127.0.0.1", "127.0.0.2", "127.0.0.1", port=port)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with listening(f"name:{port}") as opened:
        assert [one.getsockname()[0] for one in opened] == ["127.0.0.1", "127.0.0.2"]
    assert addresses(f"name:{port}") == [f"127.0.0.1:{port}", f"127.0.0.2:{port}"]


def test_an_address_that_this_machine_does_not_have_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    found = resolved("2001:db8::1", "192.0.2.1", "127.0.0.1", port=port)
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    with listening(f"name:{port}") as opened:
        assert [one.getsockname() for one in opened] == [("127.0.0.1", port)]


def test_a_name_of_which_this_machine_has_no_address_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved("192.0.2.1", port=1))
    with pytest.raises(PortTaken, match=r"^grpc\.address: cannot listen on name:1 \("):
        listen("grpc.address", "name:1")


def test_a_port_that_is_taken_is_told_with_its_setting() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with pytest.raises(
            PortTaken, match=rf"^grpc\.tls\.token_address: cannot listen on {address} \(Address already in use\)$"
        ):
            listen("grpc.tls.token_address", address)


def test_one_address_taken_is_all_taken(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever listens on half of a name has half of the consumers."""
    with socket.create_server(("127.0.0.2", 0)) as taken:
        port = taken.getsockname()[1]
        monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: resolved("127.0.0.1", "127.0.0.2", port=port))
        with pytest.raises(PortTaken):
            listen("grpc.address", f"name:{port}")


def test_nobody_can_listen_beside_us() -> None:
    port = free_port()
    with listening(f"127.0.0.1:{port}") as (one,), socket.socket() as other:
        assert one.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT) == 0
        other.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        with pytest.raises(OSError, match="in use"):
            other.bind(("127.0.0.1", port))


def test_a_port_whose_last_connections_are_still_dying_is_free() -> None:
    port = free_port()
    with listening(f"127.0.0.1:{port}") as (one,):
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = one.accept()
        accepted.close()  # who closes first waits
        client.close()
    with listening(f"127.0.0.1:{port}"):
        pass


@pytest.mark.skipif(not socket.has_ipv6, reason="needs IPv6")
def test_an_address_of_six_is_written_in_brackets(monkeypatch: pytest.MonkeyPatch) -> None:
    port = free_port()
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        pytest.skip("this machine has no IPv6")
    assert addresses(f"[::1]:{port}") == [f"[::1]:{port}"]
    with listening(f"[::1]:{port}") as (one,):
        assert one.getsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY) == 1
