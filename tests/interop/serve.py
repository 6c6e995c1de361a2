"""Runs the interop service, a front before it, or both, until it is told to stop: for the tools of others and for single tests.

    python -m tests.interop.serve [--socket PATH] [--only core|front] [--any] [--cleartext PORT] [--tls PORT] [--directory PATH]

A line of JSON on the output says which ports it listens on (0 asks for a free one) and where the certificate is. What must not
go in here: what is asked of it.

gRPC resets what is not gRPC; h2spec wants an answer to a plain GET. With `--any` the core is one that answers anything.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import signal
import ssl
import sys
import tempfile
from pathlib import Path

import uvloop

from tests.front_kit import Core, RunningFront
from tests.interop.frames import DATA, END_STREAM, HEADERS, RST_STREAM, Wire, core_of_frames
from tests.interop.service import InteropService
from tests.support.certificates import Issued, self_signed


def arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(prog="python -m tests.interop.serve")
    parser.add_argument("--socket", type=Path, help="where the core listens, or is to listen")
    parser.add_argument("--only", choices=("core", "front"), help="run nothing else")
    parser.add_argument("--any", action="store_true", help="let the core answer whatever is asked, as h2spec wants it")
    parser.add_argument("--cleartext", type=int, default=0, metavar="PORT")
    parser.add_argument("--tls", type=int, metavar="PORT")
    parser.add_argument("--directory", type=Path, help="for the certificate and the socket; else a temporary one")
    return parser.parse_args()


def tls_of(issued: Issued) -> ssl.SSLContext:
    """Return the server's side of TLS, with HTTP/2 alone."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(issued.file, issued.key_file)
    context.set_alpn_protocols(["h2"])
    return context


async def answer_anything(wire: Wire) -> None:
    """Answer every request, once it is whole, with some bytes."""
    answers: dict[int, asyncio.Task[None]] = {}
    while True:
        frame = await wire.read()
        if frame.kind in (HEADERS, DATA) and frame.flags & END_STREAM:
            wire.headers(frame.stream, ((":status", "200"), ("content-type", "text/plain")))
            answers[frame.stream] = asyncio.create_task(wire.data(frame.stream, b"an answer", ends=True))
        elif frame.kind == RST_STREAM and frame.stream in answers:
            answers.pop(frame.stream).cancel()


async def serve(chosen: argparse.Namespace, directory: Path) -> None:
    """Run what was chosen."""
    stopped = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, stopped.set)
    socket = chosen.socket or directory / "core.sock"
    said: dict[str, int | str] = {"socket": str(socket)}
    async with contextlib.AsyncExitStack() as stack:
        if chosen.only != "front":
            core = core_of_frames(socket, answer_anything) if chosen.any else Core(socket, {}, InteropService())
            await stack.enter_async_context(core)
        if chosen.only != "core":
            front = RunningFront(socket, {})
            stack.callback(front.close)
            said |= await listen(front, chosen, directory)
            stack.callback(asyncio.create_task(front.keep()).cancel)
        sys.stdout.write(json.dumps(said) + "\n")
        sys.stdout.flush()
        await stopped.wait()


async def listen(front: RunningFront, chosen: argparse.Namespace, directory: Path) -> dict[str, int | str]:
    """Have a front listen; returns what there is to be said of it."""
    await front.connect()
    said: dict[str, int | str] = {"cleartext": await front.listen(chosen.cleartext)}
    if chosen.tls is not None:
        issued = self_signed(directory, "front", "dns:localhost")
        said |= {"tls": await front.listen(chosen.tls, tls_of(issued)), "certificate": str(issued.file)}
    return said


def main() -> None:
    """Run until told to stop."""
    chosen = arguments()
    with tempfile.TemporaryDirectory() as scratch:
        uvloop.run(serve(chosen, chosen.directory or Path(scratch)))


if __name__ == "__main__":
    main()
