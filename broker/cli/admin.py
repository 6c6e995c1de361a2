"""The way to a running broker's admin socket, for the commands that need one."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import grpc

from broker.client.failures import decode
from broker.config import Config
from broker.errors import BrokerUnreachable, ConfigurationError
from broker.v1.admin_pb2_grpc import AdminServiceStub


@contextlib.contextmanager
def admin(config: Config) -> Iterator[AdminServiceStub]:
    """Give a stub on the admin socket.

    Raises:
        BrokerUnreachable: no broker listens there, or this user may not open it.
        ConfigurationError: the broker refused what was asked; the text says which field.
    """
    path = config.path(config.admin.socket)
    try:
        with grpc.insecure_channel(f"unix:{path}") as channel:
            yield AdminServiceStub(channel)
    except grpc.RpcError as error:
        failure = decode(error)
        if failure.code is grpc.StatusCode.UNAVAILABLE:
            raise BrokerUnreachable(f"no broker answers on {path}; start one with `broker serve`") from None
        raise ConfigurationError(failure.message) from None
