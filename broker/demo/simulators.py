"""One process of pretended departments: ``python -m broker.demo.simulators --level national --city city.db …``.

Reports its ports as one line of JSON when it is ready, and ends on SIGTERM, SIGINT, or when the pipe of its parent closes.
What must not go in here: anything of the broker's own way to providers (`broker.upstream`); these servers check it.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
from collections.abc import Sequence
from pathlib import Path

import uvloop

from broker.demo import grpc_server, http_server
from broker.demo.catalogue import app_key_file
from broker.demo.city import open_city
from broker.demo.departments import REQUESTER_ID
from broker.demo.desk import Counts, Desk, Pace, desks
from broker.demo.faults import Faults
from broker.demo.gjgxjhpt import Doorkeeper
from broker.demo.grpc_server import GrpcServer
from broker.demo.http_server import HttpServer


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m broker.demo.simulators", description=__doc__)
    parser.add_argument("--level", choices=("national", "provincial"), required=True)
    parser.add_argument("--city", type=Path, required=True, help="the city's SQLite file")
    parser.add_argument("--secrets", type=Path, help="directory of the app keys; without it nothing has to be signed")
    parser.add_argument("--port", type=int, default=0, help="of HTTP and the control")
    parser.add_argument("--grpc-port", type=int, default=0)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--latency-scale", type=float, default=1.0, help="0: answer at once")
    parser.add_argument("--quota-per-minute", type=int, default=10_000_000, help="of each department")
    parser.add_argument("--secret-life", type=float, default=600.0, help="seconds")
    parser.add_argument("--ready-fd", type=int, default=1, help="where to report the ports; standard output by default")
    parser.add_argument("--parent-fd", type=int, help="end when this pipe closes")
    return parser.parse_args(argv)


def _doorkeepers(opened: dict[str, Desk], options: argparse.Namespace) -> dict[str, Doorkeeper]:
    """Post doorkeepers at the national departments; nobody else has any."""
    if options.level != "national" or not options.secrets:
        return {}
    keys = {name: (options.secrets / app_key_file(name)).read_text(encoding="ascii").strip() for name in opened}
    return {name: Doorkeeper(key, REQUESTER_ID, options.secret_life) for name, key in keys.items()}


async def _run(options: argparse.Namespace) -> None:
    pace = Pace(options.seed, options.latency_scale, options.quota_per_minute)
    opened = desks(options.level.upper(), open_city(options.city), pace)
    counts, faults = Counts(), Faults(frozenset(opened))
    http = HttpServer(opened, _doorkeepers(opened, options), counts, faults)
    runner, http_port = await http_server.serve(http, options.port)
    server, grpc_port = await grpc_server.serve(GrpcServer(opened, counts, faults), options.grpc_port)
    os.write(options.ready_fd, json.dumps({"http": http_port, "grpc": grpc_port}).encode() + b"\n")
    await _end(options.parent_fd)
    await server.stop(grace=0.2)
    await runner.cleanup()


async def _end(parent: int | None) -> None:
    """Wait for a signal or for the parent's death."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    if parent is not None:
        loop.add_reader(parent, ended.set)  # nobody ever writes: readable means closed
    await ended.wait()
    if parent is not None:
        loop.remove_reader(parent)


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until told to end."""
    uvloop.run(_run(_arguments(argv)))


if __name__ == "__main__":
    main()
