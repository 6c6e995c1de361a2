"""The departments that speak HTTP, and the control of every simulator: ``GET /_sim/stats``, ``POST /_sim/fault``.

A department is the first part of the path. With app keys the departments want the national exchange's signature
(gjgxjhpt.py) and answer a wrong one with status 401 and business code 1401. What must not go in here: contents (desk.py).
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, NamedTuple

import msgspec
from aiohttp import web

from broker.demo.catalogue import http_path
from broker.demo.departments import BAD_PARAMETERS, BAD_SIGNATURE, OUT_OF_ORDER, QUOTA_USED_UP, REFUSED
from broker.demo.desk import Counts, Desk, Reply, Service
from broker.demo.faults import Fault, Faults
from broker.demo.gjgxjhpt import Doorkeeper

_FOREVER_S = 3600.0
# Where the envelope has no business codes, the status says it.
_STATUSES = {BAD_PARAMETERS: 400, REFUSED: 409, QUOTA_USED_UP: 429, OUT_OF_ORDER: 500}

Handler = Callable[[web.BaseRequest], Awaitable[web.StreamResponse]]


def _json(content: Any, status: int = 200) -> web.Response:
    return web.Response(body=msgspec.json.encode(content), status=status, content_type="application/json")


# --- faults of the line and of the server -------------------------------------------------------------------------------


async def _down(request: web.BaseRequest) -> web.StreamResponse:
    if request.transport:
        request.transport.abort()
    return web.Response()


async def _disconnect(request: web.BaseRequest) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Length": "4096", "Content-Type": "application/json"})
    await response.prepare(request)
    await response.write(b'{"code":"0",')
    return await _down(request)


async def _hang(request: web.BaseRequest) -> web.StreamResponse:
    await asyncio.sleep(_FOREVER_S)
    return web.Response(status=504)


async def _error500(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(status=500, text="Internal Server Error")


async def _html(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(text="<html><body>系统维护中</body></html>", content_type="text/html")


async def _empty(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(content_type="application/json")


async def _garbage(request: web.BaseRequest) -> web.StreamResponse:
    return web.Response(body=b"\x00\xff{]\x80" * 40, content_type="application/json")


_BROKEN: dict[str, Handler] = {
    "down": _down,
    "disconnect": _disconnect,
    "hang": _hang,
    "error500": _error500,
    "html": _html,
    "empty": _empty,
    "garbage": _garbage,
}


# --- the server ---------------------------------------------------------------------------------------------------------


class Counter(NamedTuple):
    """Where one question is put: a desk, what is asked there, and who checks the signature (nobody at a plain one)."""

    desk: Desk
    service: Service
    doorkeeper: Doorkeeper | None


class HttpServer:
    """All departments of a process that speak HTTP, and the control of the process."""

    def __init__(
        self, desks: Mapping[str, Desk], doorkeepers: Mapping[str, Doorkeeper], counts: Counts, faults: Faults
    ) -> None:
        self._counts = counts
        self._faults = faults
        self._counters: dict[tuple[str, str], Counter] = {
            (desk.department.verb, http_path(service.question)): Counter(desk, service, doorkeepers.get(name))
            for name, desk in desks.items()
            if desk.department.connector == "http"
            for service in desk.services
        }
        self._secret_paths = {f"/{name}/secret": (name, doorkeeper) for name, doorkeeper in doorkeepers.items()}
        self._controls: dict[tuple[str, str], Handler] = {
            ("GET", "/_sim/stats"): self._stats,
            ("POST", "/_sim/fault"): self._fault,
        }

    async def handle(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request."""
        place = (request.method, request.path)
        if counter := self._counters.get(place):
            with self._counts.one(counter.service.question.id):
                return await self._ask(request, counter)
        if request.method == "POST" and request.path in self._secret_paths:
            return await self._issue_secret(request, *self._secret_paths[request.path])
        if control := self._controls.get(place):
            return await control(request)
        return web.Response(status=404)

    async def _ask(self, request: web.BaseRequest, counter: Counter) -> web.StreamResponse:
        desk, service, doorkeeper = counter
        fault = self._faults.current(desk.department.id)
        if fault and (broken := _BROKEN.get(fault.kind)):
            return await broken(request)
        if doorkeeper and not doorkeeper.admits_call(request.headers, service.id):
            return _json(desk.shape.write(BAD_SIGNATURE, None), status=401)
        parameters = await _parameters(request)
        await desk.pause(fault)
        reply = desk.answer(service, parameters, fault)
        return _json(reply.content, _status(desk, reply))

    async def _issue_secret(self, request: web.BaseRequest, name: str, doorkeeper: Doorkeeper) -> web.StreamResponse:
        self._counts.secrets[name] += 1
        fault = self._faults.current(name)
        if fault and (broken := _BROKEN.get(fault.kind)):
            return await broken(request)
        if not doorkeeper.admits_secret_request(request.headers):
            return _json({"code": BAD_SIGNATURE, "data": None}, status=401)
        return _json(doorkeeper.issue())

    async def _stats(self, request: web.BaseRequest) -> web.StreamResponse:
        return _json(self._counts.report())

    async def _fault(self, request: web.BaseRequest) -> web.StreamResponse:
        try:
            fault = msgspec.json.decode(await request.read(), type=Fault)
        except msgspec.DecodeError as error:  # which a ValidationError is too
            return web.Response(status=400, text=str(error))
        if not self._faults.order(fault):
            return web.Response(status=404, text=f"no provider {fault.provider} here")
        return web.Response(status=204)


async def _parameters(request: web.BaseRequest) -> Mapping[str, Any]:
    """Read the query of a GET or the JSON of a POST; what is neither has no parameters."""
    if request.method == "GET":
        return request.query
    try:
        return msgspec.json.decode(await request.read(), type=dict[str, Any])
    except msgspec.DecodeError:
        return {}


def _status(desk: Desk, reply: Reply) -> int:
    return 200 if desk.shape.envelope.code else _STATUSES.get(reply.code, 200)


async def serve(server: HttpServer, port: int) -> tuple[web.ServerRunner, int]:
    """Listen on loopback and return what to clean up and the port."""
    runner = web.ServerRunner(web.Server(server.handle, access_log=None, handler_cancellation=True), shutdown_timeout=0.2)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port).start()
    return runner, runner.addresses[0][1]
