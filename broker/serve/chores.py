"""What a core does beside serving: writes down which grants are over, forgets who was asked about, gets ready for searches,
lets go of bases that were loaded anew.

Nobody waits for it: a grant that is over is refused by its time, written down or not. What must not go in here: the cache's
upkeep (core.py) and the snapshot's (watch.py).
"""

from __future__ import annotations

import asyncio
import datetime as dt
import importlib

import structlog

from broker.exchange import Exchange
from broker.policy.database import Database
from broker.policy.workflow import expire_due

log = structlog.get_logger("chores")

SWEEP_S = 60.0
FORGET_S = 3600.0
LOOK_S = 1.0


async def expire_grants(exchange: Exchange, database: Database, pause_s: float = SWEEP_S) -> None:
    """Write down of grants that they are over, once a pause, until cancelled. Whatever goes wrong is tried again."""
    while True:
        await asyncio.sleep(pause_s)
        # By the earliest time that it can be: what has expired does not come back when a clock that was ahead is set right.
        now = dt.datetime.fromtimestamp(exchange.clock().earliest_ms / 1000, dt.UTC)
        try:
            expired = await asyncio.to_thread(expire_due, database, now)
        except Exception as error:
            log.warning("grants that are over could not be looked for", error=type(error).__name__)
        else:
            if expired:
                log.info("grants expired", grants=expired)


async def forget_subjects(exchange: Exchange, pause_s: float = FORGET_S) -> None:
    """Remove from the control plane which subjects were counted on days that are over, once a pause, until cancelled."""
    while True:
        try:
            await asyncio.to_thread(exchange.limits.forget_days, exchange.snapshot, exchange.clock())
        except Exception as error:
            log.warning("counted subjects could not be forgotten", error=type(error).__name__)
        await asyncio.sleep(pause_s)


async def load_searchers(exchange: Exchange, pause_s: float = LOOK_S) -> None:
    """Load what searches need once there is a base to be searched, so that the first search does not hold up other calls."""
    while not any(base.search for base in exchange.snapshot.bases.values()):  # noqa: ASYNC110 - a snapshot comes without a sign
        await asyncio.sleep(pause_s)
    await asyncio.to_thread(importlib.import_module, "broker.records.searchers")


async def let_go_of_bases(exchange: Exchange, pause_s: float = LOOK_S) -> None:
    """Close record bases that were loaded anew, once a pause, until cancelled."""
    while True:
        await asyncio.sleep(pause_s)
        try:
            exchange.bases.close_replaced()
        except Exception as error:
            log.warning("bases that were loaded anew could not be closed", error=type(error).__name__)
