"""The messages of `grpc.testing`, compiled when they are first wanted, and stubs for its service; service.py answers them."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

PACKAGE = "grpc.testing"
ZEROS = bytes(1 << 20)


def _compiled() -> descriptor_pool.DescriptorPool:
    buf = str(Path(sys.executable).with_name("buf"))
    command = [buf, "build", str(Path(__file__).parent), "--as-file-descriptor-set", "-o", "-#format=binpb"]
    done = subprocess.run(command, capture_output=True, check=True)
    pool = descriptor_pool.DescriptorPool()
    for file in descriptor_pb2.FileDescriptorSet.FromString(done.stdout).file:
        pool.Add(file)
    return pool


POOL = _compiled()
SERVICE = POOL.FindServiceByName(f"{PACKAGE}.TestService")
UNIMPLEMENTED = POOL.FindServiceByName(f"{PACKAGE}.UnimplementedService")


def message(name: str) -> Any:
    """Return the class of a message."""
    return message_factory.GetMessageClass(POOL.FindMessageTypeByName(f"{PACKAGE}.{name}"))


Empty = message("Empty")
SimpleRequest = message("SimpleRequest")
SimpleResponse = message("SimpleResponse")
InputRequest = message("StreamingInputCallRequest")
InputResponse = message("StreamingInputCallResponse")
OutputRequest = message("StreamingOutputCallRequest")
OutputResponse = message("StreamingOutputCallResponse")


def payload(size: int) -> dict[str, bytes]:
    """Return a payload of so many zeros."""
    return {"body": ZEROS[:size]}


def kind(method: Any) -> str:
    """Return "unary_stream" or its like."""
    return "_".join("stream" if streams else "unary" for streams in (method.client_streaming, method.server_streaming))


def stub(channel: grpc.aio.Channel, service: Any = SERVICE) -> Any:
    """Return something with a callable for each method of a service."""
    return SimpleNamespace(
        **{
            method.name: getattr(channel, kind(method))(
                f"/{service.full_name}/{method.name}",
                message_factory.GetMessageClass(method.input_type).SerializeToString,
                message_factory.GetMessageClass(method.output_type).FromString,
            )
            for method in service.methods
        }
    )
