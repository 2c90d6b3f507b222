"""The stack of docker-compose.yml, built and started once for all tests of this tier."""

import asyncio
import os
from collections.abc import AsyncIterator, Iterator

import httpx
import pytest

from dev import ports
from dev.credentials import secrets_of
from dev.demo.chapters import Tale
from dev.demo.world import World
from dev.layout import Layout
from tests.support.composed import Composed, why_not

BASE = 28_100


@pytest.fixture(scope="session")
def engine() -> None:
    reason = why_not()
    if reason:
        pytest.skip(reason)


@pytest.fixture(scope="session")
def composed(engine: None) -> Iterator[Composed]:
    """The development stack under a project name and on ports of its own; removed afterwards, volumes too."""
    layout = Layout.at(ports.free_base(BASE), Layout.read().data)
    stack = Composed(f"order-saga-test-{os.getpid()}", layout, files=("docker-compose.yml",))
    try:
        stack.up()
        yield stack
    finally:
        stack.remove()


@pytest.fixture
async def tale(composed: Composed) -> AsyncIterator[Tale]:
    """What a chapter of the demo needs, on the composed stack."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:

        async def crash_orchestrator() -> None:
            await asyncio.to_thread(composed.crash, "orchestrator")

        yield Tale(World(composed.urls, secrets_of({}), http), os.urandom(3).hex(), crash_orchestrator)
