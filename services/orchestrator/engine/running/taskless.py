"""Code that runs within a task of asyncio, and is kept from taking that for its own.

A timeout or a task group of asyncio cancels the task that it was entered in: of workflow code, the turn of its saga.
Where asyncio knows of no running task it refuses both at once.
"""

import asyncio
from asyncio.tasks import _enter_task, _leave_task
from typing import Any


def leave_task(task: "asyncio.Task[Any]") -> None:
    """Let asyncio know of no running task; this one runs."""
    _leave_task(task.get_loop(), task)


def enter_task(task: "asyncio.Task[Any]") -> None:
    """Let asyncio know of the task again."""
    _enter_task(task.get_loop(), task)
