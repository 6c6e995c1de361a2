"""Drives a gRPC server with h2load and reads what it reports.

h2load counts HTTP, and a gRPC error is HTTP 200: whoever measures must check the answers by other means as well. What must
not go in here: what is asked.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bench.benchmark import Skipped, Wrong

_SUMMARY = re.compile(
    r"finished in [\d.]+\w*, (?P<rate>[\d.]+) req/s.*"
    r"requests: (?P<total>\d+) total.* (?P<succeeded>\d+) succeeded.*"
    r"status codes: (?P<ok>\d+) 2xx.*"
    r"\((?P<data>\d+)\) data",
    re.DOTALL,
)


class Shape(NamedTuple):
    """How many connections, and how many streams at once on each."""

    connections: int
    streams: int

    def __str__(self) -> str:
        return f"{self.connections}x{self.streams}"


class Outcome(NamedTuple):
    """What a run did: answers a second, and bytes of the answers' messages."""

    rate: float
    data_bytes: int


def check_installed() -> None:
    """Raise Skipped where there is no h2load."""
    if shutil.which("h2load") is None:
        raise Skipped("h2load is missing; on Debian or Ubuntu: apt-get install nghttp2-client")


def frame(message: bytes) -> bytes:
    """Return a message as gRPC sends it: not compressed, length, message."""
    return b"\0" + len(message).to_bytes(4) + message


def run(url: str, body: Path, headers: Mapping[str, str], shape: Shape, requests: int) -> Outcome:
    """Send so many requests and wait for all answers.

    Raises:
        Wrong: not every request was answered with 2xx.
    """
    grpc = {"content-type": "application/grpc", "te": "trailers"}
    options = [word for name, value in {**grpc, **headers}.items() for word in ("-H", f"{name}: {value}")]
    size = ["-n", str(requests), "-c", str(shape.connections), "-m", str(shape.streams)]
    done = subprocess.run(["h2load", *size, *options, "-d", str(body), url], capture_output=True, text=True, check=True)
    found = _SUMMARY.search(done.stdout)
    if not found:
        raise Wrong("h2load's report could not be read")
    if not int(found["ok"]) == int(found["succeeded"]) == int(found["total"]) == requests:
        raise Wrong(f"{found['ok']} of {requests} requests were answered with 2xx")
    return Outcome(float(found["rate"]), int(found["data"]))
