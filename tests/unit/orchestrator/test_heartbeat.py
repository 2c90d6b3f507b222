"""How long a heartbeat is waited for: as long as every lease that it is to extend still holds, and no longer."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any, cast
from uuid import UUID

import pytest

from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.loops.heartbeat import Heartbeat
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.active import ActiveSagas
from services.orchestrator.engine.running.lease import Lease
from tests.support.clock import ManualClock

LEASE_S = 3.0


class Silent:
    """A database that answers nobody, and knows how long it was waited for."""

    def __init__(self) -> None:
        self.waited_s: list[float] = []

    @asynccontextmanager
    async def in_time(self, seconds: float) -> AsyncIterator[None]:
        self.waited_s.append(seconds)
        yield

    def autocommit(self) -> Any:
        raise TimeoutError


def over() -> "asyncio.Future[None]":
    """Return what stands for a turn that needs not be stopped."""
    turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
    turn.set_result(None)
    return turn


@pytest.mark.parametrize(
    ("ends_in_s", "waited_s"),
    [([], LEASE_S / 3), ([2.5], LEASE_S / 3), ([2.5, 0.25], 0.25), ([0.75, -1.0], 0.75)],
    ids=["nothing held", "much time", "one ends soon", "one is over"],
)
@pytest.mark.scenario("CC3", "G13")
async def test_a_beat_is_given_up_as_a_lease_ends(clock: ManualClock, ends_in_s: list[float], waited_s: float) -> None:
    """Who waited longer would go on with a call that another replica may be undoing by then."""
    turns = {
        over(): Lease(UUID(int=number), 1, clock.monotonic() + seconds) for number, seconds in enumerate(ends_in_s)
    }
    held = {lease.saga_id: lease.epoch for lease in turns.values()}
    database = Silent()
    beats = Heartbeat(
        database=cast("Any", database),
        clock=clock,
        active=cast("ActiveSagas", SimpleNamespace(turns=turns, leases=lambda: held)),
        hooks=EngineHooks(),
        settings=EngineSettings(lease_s=LEASE_S),
    )
    await beats.run_once()
    assert database.waited_s == [pytest.approx(waited_s)]
