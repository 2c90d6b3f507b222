"""Tasks that work for many carry nobody's context: a line about one must not have the ids of another's request."""

import asyncio
from collections.abc import Callable, Sequence
from typing import cast
from uuid import UUID

import pytest

from services.chassis import logs
from services.chassis.clock import Clock
from services.chassis.postgres.database import Database
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.flush import Flush
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.model.states import FORWARD, LEASED
from services.orchestrator.engine.running.batcher import Batcher
from services.orchestrator.engine.running.committer import Committer


class Overhearing(EngineHooks):
    """Takes down what a line of the log would carry as a batch is written, and writes none."""

    def __init__(self) -> None:
        self.bound: list[dict[str, object]] = []

    def flush_before(self, batch: Sequence[Flush]) -> None:
        del batch
        self.bound.append(dict(logs.context()))
        raise ValueError("not written")


async def test_a_batch_of_requests_has_no_ids_of_one() -> None:
    """Each is answered, and what the batch logs is said of none in particular."""
    bound = []

    async def work(items: Sequence[int]) -> Sequence[int]:
        bound.append(dict(logs.context()))
        return items

    with logs.bound(request_id="req_1"):
        assert await Batcher[int, int](work).ask(1) == 1
    assert bound == [{}]


async def test_a_batch_of_flushes_has_no_ids_of_one() -> None:
    """Nor has what is written for the sagas of many."""
    hooks = Overhearing()
    writing = Committer(
        cast("Database", None), Clock(), hooks, EngineSettings(), on_applied=cast("Callable[[Flush], None]", id)
    )
    writing.start()
    with logs.bound(request_id="req_1"):
        written = writing.submit(Flush(UUID(int=1), 1, 1, FORWARD, LEASED, 0))
        with pytest.raises(ValueError, match="not written"):
            await asyncio.wait_for(written, 5)
    await writing.stop()
    assert hooks.bound == [{}]
