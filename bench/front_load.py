"""Drives a server with h2load and times each request: over TCP, or over a unix socket.

What h2load logs of each request is read instead of its report, which has no median. A gRPC error is HTTP 200: whoever
measures must check the answers by other means as well. What must not go in here: what is asked.
"""

from __future__ import annotations

import statistics
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

from bench.benchmark import Wrong
from bench.h2load import Shape

_OK = "200"


class Way(NamedTuple):
    """How a server is reached: by TCP, or by a unix socket."""

    authority: str
    socket: Path | None = None

    @property
    def options(self) -> list[str]:
        """What h2load is told."""
        return ["--base-uri", f"unix:{self.socket}"] if self.socket else []


class Timed(NamedTuple):
    """What a run did: the median and the 99th percentile of a request's time, and answers a second."""

    median_us: float
    p99_us: float
    rate: float


def run(way: Way, method: str, body: Path, headers: Mapping[str, str], shape: Shape, requests: int) -> Timed:
    """Send so many requests and wait for all answers.

    Raises:
        Wrong: not every request was answered with 200.
    """
    log = body.with_suffix(".log")
    log.unlink(missing_ok=True)  # h2load would append
    grpc = {"content-type": "application/grpc", "te": "trailers"}
    options = [word for name, value in {**grpc, **headers}.items() for word in ("-H", f"{name}: {value}")]
    size = ["-n", str(requests), "-c", str(shape.connections), "-m", str(shape.streams)]
    command = ["h2load", *size, *options, *way.options, "-d", str(body), f"--log-file={log}", f"http://{way.authority}{method}"]
    subprocess.run(command, capture_output=True, check=True)
    return read(log.read_text(encoding="ascii"), requests)


def read(log: str, requests: int) -> Timed:
    """Read the log of a run: a line a request, with its start in µs since 1970, its status and how many µs it took."""
    lines = [line.split("\t") for line in log.splitlines()]
    answered = [(int(line[0]), int(line[2])) for line in lines if line[1] == _OK]
    if not len(answered) == len(lines) == requests:
        raise Wrong(f"{len(answered)} of {requests} requests were answered with 200")
    lasted_us = max(began + took for began, took in answered) - min(began for began, _ in answered)
    times_us = sorted(took for _, took in answered)
    return Timed(statistics.median(times_us), times_us[len(times_us) * 99 // 100], requests / lasted_us * 1e6)
