"""Hiding the running asyncio task from workflow code.

`asyncio.timeout` and task groups cancel the task that they are entered in. In workflow code that would be the turn of
the saga. While asyncio knows of no running task, both refuse to be entered.
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
