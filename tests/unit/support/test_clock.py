"""The clock of the tests moves by hand only."""

import asyncio
from datetime import timedelta

from tests.support.clock import START, ManualClock


async def test_a_sleep_ends_when_the_clock_was_moved_past_its_end(clock: ManualClock) -> None:
    """A sleep waits for the clock, however long the test takes, and wakes at its due time, not before."""
    sleep = asyncio.create_task(clock.sleep(10))
    await asyncio.sleep(0)
    clock.advance(9.5)
    await asyncio.sleep(0)
    assert not sleep.done()
    assert clock.sleeping == 1
    clock.advance(timedelta(seconds=0.5))
    await sleep
    assert clock.now() == START + timedelta(seconds=10)
    assert clock.sleeping == 0


async def test_a_flowing_clock_moves_itself() -> None:
    """With flowing=True a sleep takes no real time and the clock shows that it passed."""
    clock = ManualClock(flowing=True)
    before = clock.monotonic()
    await clock.sleep(2)
    assert clock.monotonic() == before + 2
    assert clock.slept == [2]
