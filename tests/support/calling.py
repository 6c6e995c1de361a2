"""One question in one line, and a catalogue put in force, for the tests of the path of a call."""

from __future__ import annotations

from typing import Any

from broker.client import Answer, AsyncClient
from tests.support.catalogue import INTERFACE, PURPOSE, catalogue
from tests.support.people import resident_id
from tests.support.provider import Register
from tests.support.running import RunningBroker

WHO = resident_id(1)
NOBODY = resident_id(999)


async def put(broker: RunningBroker, register: Register, **parts: object) -> None:
    """Put a catalogue around the register in force, and empty the cache."""
    await broker.put(catalogue(register.base_url, broker.public_key, **parts))
    await broker.purge(all=True)


async def ask(client: AsyncClient, who: str = WHO, **changes: Any) -> Answer:
    """Ask about a person."""
    return await client.call(INTERFACE, {"resident_id": who}, **({"purpose": PURPOSE} | changes))
