"""A real HTTP provider whose behaviour a test sets: a person register with an envelope, delays and faults."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Self

from aiohttp import web

Behaviour = Callable[["Register", str], Awaitable[web.StreamResponse]]


class Register:
    """Answers POST /person for the people it knows."""

    def __init__(self) -> None:
        self.people: dict[str, dict[str, Any]] = {}
        self.asked: Counter[str] = Counter()
        self.delay_s = 0.0
        self.behaviour: Behaviour | None = None
        self.base_url = ""

    def add(self, resident_id: str, name: str, birth_date: str = "1980-01-01", **more: Any) -> None:
        self.people[resident_id] = {"GMSFHM": resident_id, "XM": name, "CSRQ": birth_date, **more}

    @property
    def calls(self) -> int:
        return self.asked.total()

    async def _person(self, request: web.Request) -> web.StreamResponse:
        who = (await request.json())["GMSFHM"]
        self.asked[who] += 1
        await asyncio.sleep(self.delay_s)
        if self.behaviour is not None:
            return await self.behaviour(self, who)
        if who not in self.people:
            return web.json_response({"code": "3001", "message": "查无此人"})
        return web.json_response({"code": "0", "data": self.people[who]})

    async def __aenter__(self) -> Self:
        application = web.Application()
        application.router.add_post("/person", self._person)
        self._runner = web.AppRunner(application)
        await self._runner.setup()
        self._site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await self._site.start()
        port = self._site._server.sockets[0].getsockname()[1]  # type: ignore[union-attr]
        self.base_url = f"http://127.0.0.1:{port}"
        return self

    async def down(self) -> None:
        """Stop listening and drop every connection."""
        await self._runner.cleanup()

    async def __aexit__(self, *_: object) -> None:
        await self._runner.cleanup()
