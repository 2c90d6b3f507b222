"""A test that leaves a task behind fails: whoever starts something stops it."""

import asyncio

ENDING_TURNS = 20
"""How many turns of the loop a cancelled task may take to end."""


async def left_running() -> list[str]:
    """Return the tasks, other than this one, that are still running after a few turns of the loop."""
    for _ in range(ENDING_TURNS):
        tasks = [task for task in asyncio.all_tasks() if task is not asyncio.current_task() and not task.done()]
        if not tasks:
            return []
        await asyncio.sleep(0)
    return [f"{task.get_name()}: {task.get_coro()}" for task in tasks]
