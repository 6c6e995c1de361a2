"""Fixtures: one running broker a test file (starting one takes a second), one provider a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from broker.client import AsyncClient
from tests.simulators_kit import no_faults_left, town
from tests.support.calling import WHO, put
from tests.support.provider import Register
from tests.support.running import RunningBroker

__all__ = ["no_faults_left", "town"]  # fixtures of the simulators' tests


@pytest.fixture(scope="module", params=["front", "core"])
def broker(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    """As operators run it, with a front, and the reference without one: they must not differ."""
    running = RunningBroker(tmp_path_factory.mktemp("b"), BROKER__GRPC__FRONTS="1" if request.param == "front" else "0")
    running.start()
    yield running
    if running.process is not None:
        assert running.stop() == 0


@pytest.fixture
async def register() -> AsyncIterator[Register]:
    async with Register() as register:
        yield register


@pytest.fixture
async def client(broker: RunningBroker, register: Register) -> AsyncIterator[AsyncClient]:
    """A client of a broker whose cache is empty and whose catalogue is the plain one around the register."""
    register.add(WHO, "张三", ZT="正常")
    await put(broker, register)
    async with broker.client() as client:
        yield client
