"""Drives a saga's code from one wait to the next, branch by branch, without a task or a lock of asyncio.

The code is a coroutine that yields commands. The driver resumes whichever branch can go on, in a fixed order, until
all of them wait; what they wait for is then the executor's to fulfil. A branch is resumed at one place only,
so that its line of positions is known and the order of the code depends on the log alone.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.commands import Gather, Map, RunStep, Select, WaitSignal, WaitTimer
from services.orchestrator.engine.model.errors import ForeignAwait, TerminalError, leave_frames
from services.orchestrator.engine.model.records import Kind
from services.orchestrator.engine.running.log import Line, RunLog
from services.orchestrator.engine.running.taskless import enter_task, leave_task

Code = Coroutine[Any, Any, Any]


@dataclass(slots=True, eq=False)
class Branch:
    """A coroutine of the saga's code, where it stands, and who waits for it."""

    code: Code
    line: Line
    index: int = 0
    parent: "Join | None" = None
    value: Any = None
    error: BaseException | None = None
    join: "Join | None" = None


@dataclass(slots=True, eq=False)
class Join:
    """A gather, a map or a select that its branch waits in.

    The branches of a map begin in the order of its items, `total` in all; the log knows that `known` of them had begun.
    """

    owner: Branch
    command: Gather | Map | Select
    children: list[Branch] = field(default_factory=list)
    open: int = 0
    total: int = 0
    known: int = 0
    has_failed: bool = False

    @property
    def has_more(self) -> bool:
        """Say whether branches of a map are yet to begin; when one has failed, only those that had begun by the log."""
        return len(self.children) < (self.known if self.has_failed else self.total)


class Driver:
    """The branches of one saga's code. `steps` and `waits` are what they wait for, by position."""

    def __init__(self, code: Code, log: RunLog) -> None:
        """Begin with the main line, not yet started."""
        self._log = log
        self._root = Branch(code, Line(""))
        self._runnable: deque[Branch] = deque([self._root])
        self.steps: dict[str, tuple[Branch, RunStep]] = {}
        self.new_steps: list[RunStep] = []
        self.waits: dict[str, tuple[Branch, WaitSignal | WaitTimer]] = {}
        self.dropped_steps: list[str] = []
        self._maps: list[Join] = []
        self.finished = False

    @property
    def error(self) -> BaseException | None:
        """Return what the code raised, once `finished`."""
        return self._root.error

    @property
    def value(self) -> Any:
        """Return what the code returned, once `finished`."""
        return self._root.value

    @property
    def has_runnable(self) -> bool:
        """Say whether a branch can go on."""
        return bool(self._runnable)

    def forks(self) -> frozenset[str]:
        """Return the positions at which the code waits for branches."""
        joins = (branch.join for branch in self._open_branches(self._root))
        return frozenset(join.command.position for join in joins if join is not None)

    def advance_within(self, task: "asyncio.Task[Any]") -> None:
        """Do as `advance`, and keep the code from taking the task that this runs in for its own."""
        leave_task(task)
        try:
            self.advance()
        finally:
            enter_task(task)

    def advance(self) -> None:
        """Run every branch until all of them wait, or the main line has ended."""
        while self._runnable and not self.finished:
            branch = self._runnable.popleft()
            self._log.line = branch.line
            value, error = branch.value, branch.error
            branch.value = branch.error = None
            try:
                command = branch.code.send(value) if error is None else branch.code.throw(error)
            except StopIteration as stop:
                self._ended(branch, stop.value, None)
            except KeyboardInterrupt:
                raise
            except BaseException as raised:  # noqa: BLE001 - the code's error is the code's result
                self._ended(branch, None, raised)
            else:
                self._blocked(branch, command)
            finally:
                self._log.line = None

    def begin_another(self) -> bool:
        """Begin one more branch of a map that has room for it; say whether there was one.

        To be asked only when nothing else can go on: the code has taken in all that the log holds of the branches that
        have begun. What begins next follows from that alone, and not from which of them ended first. An inner map
        comes first, as what becomes of it may be the failure after which no branch of an outer one begins. Branches
        that had begun by the log begin in any case, so that nothing it holds is left out.
        """
        for join in reversed(self._maps):
            command, index = join.command, len(join.children)
            if isinstance(command, Map) and join.has_more and (index < join.known or join.open < command.limit):
                self._begin(join, index, _item(command.fn, command.items[index]))
                return True
        return False

    def answer(self, position: str, value: Any = None, error: BaseException | None = None) -> None:
        """Give a waiting branch what it waits for; it goes on at the next `advance`."""
        entry = self.steps.pop(position, None) or self.waits.pop(position, None)
        if entry is not None:
            branch = entry[0]
            branch.value, branch.error = value, error
            self._runnable.append(branch)

    def settle(self, now: datetime) -> list[WaitTimer]:
        """Answer every wait whose signal is settled or whose time has come; return the timers that fired."""
        fired: list[WaitTimer] = []
        for position, (_, command) in list(self.waits.items()):
            if isinstance(command, WaitTimer):
                if command.due_at <= now:
                    fired.append(command)
                    self.answer(position)
            elif command.signal in self._log.signals:
                self.answer(position, self._log.signals[command.signal])
        return fired

    def expired(self, now: datetime) -> list[WaitSignal]:
        """Return the waits whose deadline has passed and whose signal is still open."""
        return [
            command
            for _, command in self.waits.values()
            if isinstance(command, WaitSignal) and command.until is not None and command.until <= now
        ]

    def close(self) -> None:
        """Let go of the code; nothing it does from here on is recorded."""
        self._log.line = None
        for branch in self._open_branches(self._root):
            _close(branch.code)
        self._runnable.clear()

    def _blocked(self, branch: Branch, command: Any) -> None:
        match command:
            case RunStep():
                self.steps[command.position] = (branch, command)
                self.new_steps.append(command)
            case WaitSignal() | WaitTimer():
                self.waits[command.position] = (branch, command)
            case Gather() | Select():
                self._fork(branch, command)
            case Map():
                self._map(branch, command)
            case _:
                self._log.fail(ForeignAwait(command))
                self.finished = True
                self._root.error = self._log.fault

    def _fork(self, branch: Branch, command: Gather | Select) -> None:
        join = Join(branch, command)
        branch.join = join
        for index, code in enumerate(command.branches):
            path = positions.branch_of(command.position, index)
            if isinstance(command, Select) and command.winner not in (None, index):
                self._log.replay.forget(path)
                code.close()
                continue
            self._begin(join, index, code)
        if not join.children:
            branch.value = ()
            branch.error = ValueError("select needs at least one branch") if isinstance(command, Select) else None
            branch.join = None
            self._runnable.append(branch)

    def _map(self, branch: Branch, command: Map) -> None:
        total = len(command.items)
        if not total:
            branch.value = ()
            self._runnable.append(branch)
            return
        known = min(self._log.replay.branches_begun(command.position), total)
        branch.join = Join(branch, command, total=total, known=known)
        self._maps.append(branch.join)

    def _begin(self, join: Join, index: int, code: Code) -> None:
        """Begin a branch; that a select's winner is known says that its branch was over."""
        command, line = join.command, join.owner.line
        is_over = line.is_over or (isinstance(command, Select) and command.winner is not None)
        child = Branch(code, Line(positions.branch_of(command.position, index), is_over=is_over), index, join)
        join.children.append(child)
        join.open += 1
        self._runnable.append(child)

    def _ended(self, branch: Branch, value: Any, error: BaseException | None) -> None:
        """Take in how a branch has ended; a terminal error leaves its frames, which would hold on to this driver."""
        if isinstance(error, TerminalError):
            leave_frames(error)
        branch.value, branch.error = value, error
        join = branch.parent
        if join is None:
            self.finished = True
            return
        join.open -= 1
        owner = join.owner
        if isinstance(join.command, Select):
            self._won(join, branch)
        else:
            join.has_failed |= error is not None
            if join.open or join.has_more:
                return
            failed = next((child for child in join.children if child.error is not None), None)
            owner.error = failed.error if failed else None
            owner.value = None if failed else tuple(child.value for child in join.children)
            if isinstance(join.command, Map):
                self._maps.remove(join)
        owner.join = None
        self._runnable.append(owner)

    def _won(self, join: Join, winner: Branch) -> None:
        command = join.command
        if isinstance(command, Select) and command.winner is None:
            self._log.append(command.position, Kind.SELECT, str(len(command.branches)), str(winner.index))
        self._log.line = None
        for child in join.children:
            if child is not winner:
                self._drop(child)
        join.owner.error = winner.error
        join.owner.value = (winner.index, winner.value)

    def _drop(self, loser: Branch) -> None:
        """Close a branch that lost, and everything inside it."""
        for branch in self._open_branches(loser):
            if branch in self._runnable:
                self._runnable.remove(branch)
            _close(branch.code)
        inside = loser.line.path
        self._log.replay.forget(inside)
        self._log.writes.forget(inside)
        self._maps = [join for join in self._maps if not positions.is_within(join.command.position, inside)]
        for position in [position for position in self.waits if positions.is_within(position, inside)]:
            del self.waits[position]
        for position in [position for position in self.steps if positions.is_within(position, inside)]:
            del self.steps[position]
            self.dropped_steps.append(position)
        self.new_steps = [step for step in self.new_steps if not positions.is_within(step.position, inside)]

    def _open_branches(self, branch: Branch) -> list[Branch]:
        """Return a branch and those inside it, innermost first."""
        inner = branch.join.children if branch.join is not None else []
        return [found for child in inner for found in self._open_branches(child)] + [branch]


async def _item(fn: Callable[[Any], Awaitable[Any]], item: Any) -> Any:
    """Do what a map does for an item, and nothing of it before its branch begins."""
    return await fn(item)


def _close(code: Code) -> None:
    """Close a coroutine; a `finally` of the author that awaits again, or fails, changes nothing."""
    try:
        code.close()
    except KeyboardInterrupt:
        raise
    except BaseException:  # noqa: BLE001, S110 - nobody asks any more what the code makes of its end
        pass
