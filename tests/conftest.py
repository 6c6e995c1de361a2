"""Fixtures: one running broker a test file (starting one takes a second), one provider a test."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator

import pytest

from tests.support.provider import Register
from tests.support.running import RunningBroker


@pytest.fixture(scope="module")
def broker(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningBroker]:
    running = RunningBroker(tmp_path_factory.mktemp("b"))
    running.start()
    yield running
    if running.process is not None:
        assert running.stop() == 0


@pytest.fixture
async def register() -> AsyncIterator[Register]:
    async with Register() as register:
        yield register
