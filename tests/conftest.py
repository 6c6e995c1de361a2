"""Fixtures: one running broker with a front and one without for all tests (starting one takes seconds), one provider a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest
from hypothesis import HealthCheck, settings

from broker.client import AsyncClient
from tests.simulators_kit import no_faults_left, town
from tests.support.calling import WHO, put
from tests.support.provider import Register
from tests.support.running import RunningBroker

settings.register_profile("unhurried", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("unhurried")  # how long a machine with other work takes for an example is not what is tested

__all__ = ["no_faults_left", "town"]  # fixtures of the simulators' tests


@pytest.fixture(scope="session")
def brokers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, RunningBroker]]:
    """The brokers that tests share, by what takes their calls; each is started by the first test that wants it."""
    fronts = {"front": "1", "core": "0"}
    made = {kind: RunningBroker(tmp_path_factory.mktemp(kind), BROKER__GRPC__FRONTS=count) for kind, count in fronts.items()}
    yield made
    assert [running.stop() for running in made.values() if running.process is not None] == [0] * len(made)


@pytest.fixture(scope="module", params=["front", "core"])
def broker(request: pytest.FixtureRequest, brokers: dict[str, RunningBroker]) -> RunningBroker:
    """As operators run it, with a front, and the reference without one: they must not differ."""
    running = brokers[request.param]
    if running.process is None:
        running.start()
    return running


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
