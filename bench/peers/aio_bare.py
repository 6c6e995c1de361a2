"""The bar for the front: the least that `grpc.aio` on uvloop does for a question whose answer lies in LMDB.

One handler that parses the request, reads the answer of its subject from LMDB, parses and serialises it: no identity, no
grant, no metrics. Usage: `python -m bench.peers.aio_bare HOST:PORT REQUEST ANSWER DIRECTORY`, the files holding a serialised
CallRequest and its CallResponse, the directory being its own. What must not go in here: anything that the C++ peer (cpp/) does
not do; a handler that repeats one ready answer is `bare_aio.py`.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import grpc
import lmdb
import uvloop

from broker.v1 import exchange_pb2 as pb
from broker.v1.exchange_pb2_grpc import ExchangeServiceServicer, add_ExchangeServiceServicer_to_server


class Bare(ExchangeServiceServicer):
    """Answers what is in the environment."""

    def __init__(self, environment: lmdb.Environment) -> None:
        self._environment = environment

    async def Call(self, request: pb.CallRequest, context: Any) -> pb.CallResponse:
        """Look the answer up."""
        with self._environment.begin() as transaction:
            answer = transaction.get(key_of(request))
            if answer is not None:
                return pb.CallResponse.FromString(answer)
        await context.abort(grpc.StatusCode.NOT_FOUND, "no such answer")
        raise AssertionError("abort raises")


def key_of(request: pb.CallRequest) -> bytes:
    """Return what an answer is kept under."""
    return f"{request.interface}\0{request.arguments['resident_id']}".encode()


def answers(request: pb.CallRequest, answer: bytes, directory: str) -> lmdb.Environment:
    """Make the environment, with this one answer in it."""
    environment = lmdb.open(directory)
    with environment.begin(write=True) as transaction:
        transaction.put(key_of(request), answer)
    return environment


async def serve(address: str, environment: lmdb.Environment) -> None:
    """Serve until killed."""
    server = grpc.aio.server()
    add_ExchangeServiceServicer_to_server(Bare(environment), server)  # type: ignore[abstract]  # one method is enough
    server.add_insecure_port(address)
    await server.start()
    await server.wait_for_termination()


if __name__ == "__main__":
    address, request_file, answer_file, directory = sys.argv[1:]
    request = pb.CallRequest.FromString(Path(request_file).read_bytes())
    uvloop.run(serve(address, answers(request, Path(answer_file).read_bytes(), directory)))
