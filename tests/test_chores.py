"""What a core does beside serving: grants that are over are written down as expired, whatever goes wrong meanwhile."""

from __future__ import annotations

import asyncio
import contextlib
import datetime as dt
from pathlib import Path

from sqlalchemy import create_engine, text

from broker import config
from broker.serve.chores import expire_grants
from broker.serve.core import Core
from tests.grant_kit import Plane, grant
from tests.support.running import eventually

PAST = dt.datetime(2021, 1, 1, tzinfo=dt.UTC)


async def test_what_is_over_is_written_down_even_after_trouble(tmp_path: Path) -> None:
    url = f"sqlite:///{tmp_path}/control.db?timeout=0.1"
    plane = Plane(url, grant(valid_until=PAST), grant(id="g2"))
    core = Core(config.load(None, {"BROKER__DATA_DIR": str(tmp_path / "data")}), 0)
    with contextlib.closing(create_engine(url).connect()) as somebody:
        somebody.execute(text("BEGIN EXCLUSIVE"))
        sweeping = asyncio.create_task(expire_grants(core._exchange, plane.database, 0.01))
        await asyncio.sleep(0.3)
        assert not sweeping.done(), "a locked database is tried again"
        somebody.rollback()

    async def expired() -> bool:
        return plane.story("g1").life.state == "EXPIRED"

    await eventually(expired)
    assert plane.in_force() == ["g2"]
    sweeping.cancel()
    await core._close()
