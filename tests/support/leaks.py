"""A test that leaves a task behind fails: whoever starts something stops it."""

import asyncio

ENDING_S = 2.0
"""How long a task may take to end by itself: work that nobody waits for any more may still be asking the database."""


async def left_running() -> list[str]:
    """Return the tasks, other than this one, that do not end by themselves, nor those that they start."""
    try:
        async with asyncio.timeout(ENDING_S):
            while others := asyncio.all_tasks() - {asyncio.current_task()}:
                await asyncio.wait(others)
    except TimeoutError:
        pass
    return [f"{task.get_name()}: {task.get_coro()}" for task in asyncio.all_tasks() - {asyncio.current_task()}]
