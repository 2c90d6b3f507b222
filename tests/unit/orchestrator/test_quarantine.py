"""Who is let into the quarantine, and when: by turns, as far as there is room, and nobody's room is lost."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from uuid import UUID

import pytest

from services.orchestrator.engine.running.quarantine import ROOM, Quarantine, room_of

FIRST, LATER, LAST = 3, 2, 1
"""Losses that a suspect has left before it is parked."""


class Visits:
    """Suspects on their way through a quarantine, named by number; each stays until it is told to leave."""

    def __init__(self) -> None:
        self.quarantine = Quarantine()
        self.inside: list[int] = []
        self._leave: dict[int, asyncio.Event] = {}
        self._tasks: dict[int, asyncio.Task[None]] = {}

    async def come(self, number: int, losses_left: int) -> None:
        self._leave[number] = asyncio.Event()
        self._tasks[number] = asyncio.create_task(self._visit(number, losses_left))
        await settled()

    async def leave(self, *numbers: int) -> None:
        for number in numbers:
            self._leave[number].set()
        await settled()

    async def give_up(self, number: int) -> None:
        self._tasks[number].cancel()
        await settled()

    async def close(self) -> None:
        for task in self._tasks.values():
            task.cancel()
        await asyncio.gather(*self._tasks.values(), return_exceptions=True)

    async def _visit(self, number: int, losses_left: int) -> None:
        async with self.quarantine.of(UUID(int=number), losses_left):
            self.inside.append(number)
            try:
                await self._leave[number].wait()
            finally:
                self.inside.remove(number)


async def settled() -> None:
    """Let everybody go on who can."""
    for _ in range(5):
        await asyncio.sleep(0)


@asynccontextmanager
async def visited(coming: Sequence[int]) -> AsyncIterator[Visits]:
    """Let suspects come that have so many losses left, numbered from nought."""
    visits = Visits()
    for number, losses_left in enumerate(coming):
        await visits.come(number, losses_left)
    yield visits
    await visits.close()


@pytest.mark.scenario("R12", "G19")
def test_the_company_shrinks_until_a_suspect_is_alone() -> None:
    """Sixteen at once, then four, then one; however many losses are left, nobody takes up nothing."""
    assert [ROOM // room_of(losses_left) for losses_left in (7, 4, FIRST, LATER, LAST)] == [16, 16, 16, 4, 1]


@pytest.mark.parametrize(("losses_left", "at_once"), [(FIRST, 16), (LATER, 4), (LAST, 1)])
@pytest.mark.scenario("R12", "G19")
async def test_so_many_run_at_once(losses_left: int, at_once: int) -> None:
    """The next comes in as soon as one leaves, or has made progress."""
    async with visited([losses_left] * (at_once + 2)) as visits:
        assert visits.inside == list(range(at_once))
        await visits.leave(0)
        assert visits.inside == list(range(1, at_once + 1))
        visits.quarantine.clear(UUID(int=1))
        await settled()
        assert visits.inside == list(range(1, at_once + 2))


@pytest.mark.scenario("R12", "G19")
async def test_who_is_to_be_alone_waits_and_is_waited_for() -> None:
    """It is let in when all before it have left; nobody behind it overtakes it, however little room he needs."""
    async with visited([FIRST, FIRST, LAST, FIRST]) as visits:
        assert visits.inside == [0, 1]
        await visits.leave(0)
        assert visits.inside == [1]
        await visits.leave(1)
        assert visits.inside == [2]
        await visits.leave(2)
        assert visits.inside == [3]


@pytest.mark.scenario("R12", "G19")
async def test_who_gives_up_waiting_keeps_nobody_out() -> None:
    """Its place in the queue is gone, and those behind it come in at once."""
    async with visited([FIRST, LAST, FIRST]) as visits:
        assert visits.inside == [0]
        await visits.give_up(1)
        assert visits.inside == [0, 2]
        await visits.leave(0, 2)
        await visits.come(3, LAST)
        assert visits.inside == [3]


@pytest.mark.scenario("R12", "G19")
async def test_who_gives_up_as_it_is_let_in_gives_its_room_back() -> None:
    """Between being let in and going on it is cancelled."""
    async with visited([LAST, LAST, LAST]) as visits:
        visits.quarantine.clear(UUID(int=0))
        await visits.give_up(1)
        assert visits.inside == [0, 2]


@pytest.mark.scenario("R12", "G19")
async def test_a_suspect_that_is_claimed_again_takes_up_its_room_once() -> None:
    """Its former turn is on its way out: what one of the two gives back is there for others."""
    quarantine = Quarantine()
    same = UUID(int=1)
    async with quarantine.of(same, LATER), quarantine.of(same, LATER):
        pass
    async with asyncio.timeout(1), quarantine.of(UUID(int=2), LAST):
        pass
