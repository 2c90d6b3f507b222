"""Tells sagas that the sagas which they have called have ended: at least once, wherever either of them runs."""

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from typing import Final
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.logs import get_logger
from services.chassis.loop import Loop
from services.chassis.postgres.database import Database
from services.orchestrator.engine.model.calls import ChildEnd
from services.orchestrator.engine.model.records import Saga
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.store import awaiting

ENDS_MAX: Final = 50
"""Ends per look, with their outputs; more are looked for at once."""
TOLD_MAX: Final = 500
EXPECTED_MAX: Final = 20_000
"""Called sagas to be remembered here; the end of another is found by looking."""

Tell = Callable[[UUID, ChildEnd], Awaitable[None]]
"""Settles the signal of a saga that waits; a saga that waits no more, or is gone, is told nothing."""


class ChildEnds:
    """Looks for ended sagas that are awaited: when one ends here that this process knows of, and every some seconds.

    An end is told first and forgotten then, so that a crash between the two tells it again, which changes nothing.
    """

    def __init__(self, *, database: Database, clock: Clock, tell: Tell, settings: EngineSettings) -> None:
        """Take where sagas are, and how one is told."""
        self._database = database
        self._tell = tell
        self._pause_s = settings.ends_poll_s
        self._expected: OrderedDict[UUID, None] = OrderedDict()
        self._log = get_logger("engine.child_ends")
        self.loop = Loop("engine child ends", self.run_once, clock=clock)

    def expect(self, saga_ids: Iterable[UUID]) -> None:
        """Know that these sagas have been called; they may have ended long ago."""
        self._expected.update(dict.fromkeys(saga_ids))
        while len(self._expected) > EXPECTED_MAX:
            self._expected.popitem(last=False)
        self.loop.nudge()

    def ended(self, saga_id: UUID, saga: Saga | None) -> None:
        """Hear of an end in this process, of a saga that is known as its last claim read it."""
        if saga_id in self._expected or (saga is not None and saga.awaited):
            self.loop.nudge()

    async def run_once(self) -> float:
        """Tell one batch; return the seconds until the next look."""
        is_full, progress = await self._look()
        return 0.0 if is_full and progress else self._pause_s

    async def deliver(self) -> bool:
        """Tell one batch; say whether there was one."""
        _, progress = await self._look()
        return progress

    async def _look(self) -> tuple[bool, bool]:
        """Tell one batch; say whether there may be more, and whether anything has come of this one."""
        async with self._database.autocommit() as conn:
            ends = await awaiting.ended(conn, limit=ENDS_MAX)
            waiting = await awaiting.of_sagas(conn, ends, limit=TOLD_MAX) if ends else []
        if not ends:
            return False, False
        told = await self._tell_waiting(ends, waiting)
        async with self._database.begin() as conn:
            written = await awaiting.forget(conn, ends, told)
        for saga_id in ends:
            self._expected.pop(saga_id, None)
        return len(ends) == ENDS_MAX or len(waiting) == TOLD_MAX, written > 0

    async def _tell_waiting(
        self, ends: Mapping[UUID, ChildEnd], waiting: Sequence[awaiting.Awaiting]
    ) -> list[awaiting.Awaiting]:
        """Tell whoever waits; return those who need not be told again."""
        answers = await asyncio.gather(
            *(self._tell(parent_id, ends[child_id]) for child_id, parent_id in waiting), return_exceptions=True
        )
        told = []
        for place, answer in zip(waiting, answers, strict=True):
            if answer is None:
                told.append(place)
            elif isinstance(answer, Exception):
                self._log.warning(
                    "engine.end_not_told", saga_id=str(place[0]), parent=str(place[1]), error=repr(answer)[:200]
                )
            else:
                raise answer
        return told
