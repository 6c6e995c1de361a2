"""The bar for a hot call: the least that `grpc.aio` on uvloop can do for the same messages.

One handler that parses the request and serialises one ready answer: no identity, no grant, no cache, no metrics. Usage:
`python -m bench.peers.bare_aio HOST:PORT FILE`, the file holding a serialised CallResponse. What must not go in here: work.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import grpc
import uvloop

from broker.v1 import exchange_pb2 as pb
from broker.v1.exchange_pb2_grpc import ExchangeServiceServicer, add_ExchangeServiceServicer_to_server


class Bare(ExchangeServiceServicer):
    """Answers every question alike."""

    def __init__(self, answer: pb.CallResponse) -> None:
        self._answer = answer

    async def Call(self, request: pb.CallRequest, context: Any) -> pb.CallResponse:
        """Give the answer."""
        return self._answer


async def serve(address: str, answer: pb.CallResponse) -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    add_ExchangeServiceServicer_to_server(Bare(answer), server)
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    uvloop.run(serve(sys.argv[1], pb.CallResponse.FromString(Path(sys.argv[2]).read_bytes())))
