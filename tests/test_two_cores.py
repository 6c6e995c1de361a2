"""Two brokers on one control plane: each sees what the other's operators change, and a quota is one quota for both."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from broker.client import AsyncClient, CallFailed, NotGranted
from tests.control_kit import control_url, postgres
from tests.support.calling import WHO, ask
from tests.support.catalogue import catalogue, grant
from tests.support.provider import Register
from tests.support.running import RunningBroker, wait_until

__all__ = ["control_url", "postgres"]  # fixtures


@pytest.fixture
def two(tmp_path: Path, control_url: str) -> Iterator[list[RunningBroker]]:
    (tmp_path / "1").mkdir()
    (tmp_path / "2").mkdir()
    both = [RunningBroker(tmp_path / name, BROKER__CONTROL__URL=control_url) for name in ("1", "2")]
    for broker in both:
        broker.start()
    yield both
    for broker in both:
        broker.kill()


async def _outcome(client: AsyncClient) -> str:
    try:
        await ask(client)
    except CallFailed as failure:
        return failure.reason
    return "FOUND"


async def test_what_one_puts_in_force_holds_at_the_other(two: list[RunningBroker], register: Register) -> None:
    register.add(WHO, "张三")
    first, second = two
    second.key_file, second.public_key = first.key_file, first.public_key
    await first.put(catalogue(register.base_url, first.public_key, grants=(grant(id="shared", quota_total=400),)))
    wait_until(lambda: "broker_policy_snapshot_version 1.0" in second.metrics())
    async with first.client() as here, second.client() as there:
        assert [await _outcome(here), await _outcome(there)] == ["FOUND", "FOUND"]
        outcomes = await asyncio.gather(*(_outcome(client) for _ in range(300) for client in (here, there)))
        assert outcomes.count("FOUND") <= 398
        assert outcomes.count("FOUND") + outcomes.count("QUOTA_EXCEEDED") == len(outcomes)
        assert outcomes.count("FOUND") >= 398 - 2 * 8, "at most what is left of a block lies idle"
        version = await asyncio.to_thread(second.apply, catalogue(register.base_url, first.public_key, grants=()))
        wait_until(lambda: all(f"broker_policy_snapshot_version {float(version)}" in broker.metrics() for broker in two))
        for client in (here, there):
            with pytest.raises(NotGranted):
                await ask(client)
