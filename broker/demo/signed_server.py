"""A provider of any dialect to try a catalogue's entry on: ``python -m broker.demo.signed_server --dialect shandong …``.

It checks the signature (doorkeepers.py) and answers with what it was asked, wrapped as its dialect wraps answers: the
parameters are the record. So it holds no data, and an interface whose answer names its arguments gets them back. Reports its
URL when it is ready and serves until it is told to end. What must not go in here: the broker's own way to providers.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from broker.demo.doorkeepers import DOORKEEPERS, Doorkeeper, Terms, Visit

Record = Mapping[str, Any] | None


class Wrapping(NamedTuple):
    """How answers look in a dialect."""

    record: Callable[[Record], Any]
    refusal: Any
    refusal_status: int = 401


_PLAIN = Wrapping(lambda record: {"code": "0", "data": record}, {"code": "401", "data": None})
_WRAPPINGS: Mapping[str, Wrapping] = {
    "gjzwfwpt": Wrapping(
        lambda record: {"code": "200", "message": "ok", "data": record}, {"code": "300", "message": "sign", "data": None}
    ),
    "zhejiang": Wrapping(  # refuses in a business code, with status 200
        lambda record: {"code": "00", "msg": "", "datas": record, "dataCount": 1}, {"code": "14", "msg": "sign"}, 200
    ),
}


class SignedServer:
    """One provider of one dialect."""

    def __init__(self, dialect: str, terms: Terms) -> None:
        self.doorkeeper: Doorkeeper = DOORKEEPERS[dialect](terms)
        self._wrapping = _WRAPPINGS.get(dialect, _PLAIN)
        self.asked = 0  # questions, let in or not
        self.refused = 0  # of questions

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request; the last part of a path is the service's name."""
        visit = Visit(request.headers, request.query, request.path.rpartition("/")[2])
        if request.path in self.doorkeeper.paths:
            return self._wrapped(self.doorkeeper.issue(request.path, visit))
        self.asked += 1
        if not self.doorkeeper.admits(visit):
            self.refused += 1
            return self._wrapped(None)
        return self._wrapped(self._wrapping.record(await _parameters(request)))

    def _wrapped(self, content: Any) -> web.Response:
        """Send an answer, or the refusal where there is none."""
        status = 200 if content is not None else self._wrapping.refusal_status
        body = msgspec.json.encode(content if content is not None else self._wrapping.refusal)
        return web.Response(body=body, status=status, content_type="application/json")


async def _parameters(request: web.BaseRequest) -> Record:
    """Read the query of a GET or the JSON of a POST; what is neither has no parameters."""
    if request.method == "GET":
        return dict(request.query)
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, Any])
    except msgspec.DecodeError:
        return None


async def serve(server: SignedServer, port: int = 0) -> tuple[web.ServerRunner, str]:
    """Listen on loopback and return what to clean up and the base URL."""
    runner = web.ServerRunner(web.Server(server.handle, access_log=None, handler_cancellation=True), shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, f"http://127.0.0.1:{runner.addresses[0][1]}"


def _arguments(argv: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m broker.demo.signed_server", description=__doc__)
    parser.add_argument("--dialect", choices=sorted(DOORKEEPERS), required=True)
    parser.add_argument("--requester", default="", help="requester_id of the endpoint")
    parser.add_argument("--app-key-file", type=Path, help="the file that the broker reads, too")
    parser.add_argument("--secret-life", type=float, default=600.0, help="seconds")
    parser.add_argument("--revokes", action="store_true", help="a new secret ends the earlier ones at once")
    parser.add_argument("--digest", default="sha256", help="of the HMAC: sha256 or sm3")
    parser.add_argument("--port", type=int, default=0)
    return parser.parse_args(argv)


async def _run(options: argparse.Namespace) -> None:
    app_key = options.app_key_file.read_text(encoding="utf-8").strip() if options.app_key_file else ""
    terms = Terms(options.requester, app_key, options.secret_life, options.revokes, options.digest)
    runner, base_url = await serve(SignedServer(options.dialect, terms), options.port)
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, ended.set)
    print(base_url, flush=True)  # noqa: T201 - what it is started for
    await ended.wait()
    await runner.cleanup()


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until told to end."""
    asyncio.run(_run(_arguments(argv)))


if __name__ == "__main__":
    main()
