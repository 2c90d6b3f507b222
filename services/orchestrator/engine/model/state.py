"""The state of a saga: small values that its code has written by name, in the order of the code.

What counts where follows from positions alone: a place of the code sees what was written before it, and nothing of
branches beside it. After a fork it is as if the branches had run one after another.
"""

from collections.abc import Iterable
from operator import attrgetter
from typing import Final, NamedTuple

from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.records import Kind, LogRecord

_SET: Final = "set"
_CLEAR: Final = "clear"
_CLEAR_ALL: Final = "clear_all"


class Write(NamedTuple):
    """What was written at a position: JSON text under a name, nothing to clear it; without a name all are cleared."""

    position: str
    name: str | None = None
    value: str | None = None

    @property
    def label(self) -> str:
        """Return the name of its record, by which changed code is told from unchanged."""
        if self.name is None:
            return _CLEAR_ALL
        return f"{_CLEAR if self.value is None else _SET} {self.name}"

    @property
    def order(self) -> tuple[float, ...]:
        """Return a key that sorts writes as the code reads."""
        return positions.order(self.position)

    @classmethod
    def read(cls, record: LogRecord) -> "Write":
        """Read a write back from its record."""
        what, _, name = record.name.partition(" ")
        if what == _CLEAR_ALL:
            return cls(record.position)
        return cls(record.position, name, record.output if what == _SET else None)


class Writes:
    """What the code has written so far, without what no place that it can still come to would see."""

    __slots__ = ("_kept",)

    def __init__(self) -> None:
        """Begin with nothing."""
        self._kept: tuple[Write, ...] = ()

    def add(self, write: Write) -> None:
        """Take in the next write of a line; what it replaces in that line, and in forks that are over there, goes.

        What stands in a line around it stays: other branches see that, and all will if this one loses its select.
        """
        line = positions.line_of(write.position)
        kept = [other for other in self._kept if not (_replaces(write, other) and _is_in(other, line))]
        if line or write.value is not None:
            kept.append(write)
        self._kept = tuple(kept)

    def forget(self, branch: str) -> None:
        """Drop what a branch wrote before it lost its select."""
        self._kept = tuple(write for write in self._kept if not _is_in(write, branch))

    def seen_from(self, place: str) -> dict[str, str]:
        """Return the values, as JSON text by name, that code sees which takes `place` next."""
        return _folded(write for write in self._kept if positions.is_after(place, write.position))


def state_of(records: Iterable[LogRecord]) -> dict[str, str]:
    """Return the values that a log says stand at its end, as JSON text by name; nothing of branches that have lost."""
    winners: dict[str, str | None] = {}
    writes = []
    for record in records:
        if record.kind is Kind.SELECT:
            winners[record.position] = record.output
        elif record.kind is Kind.STATE:
            writes.append(Write.read(record))
    return _folded(write for write in writes if not _has_lost(write.position, winners))


def _has_lost(position: str, winners: dict[str, str | None]) -> bool:
    while fork := positions.fork_of(position):
        if fork in winners and winners[fork] != str(positions.branch_within(position, fork)):
            return True
        position = fork
    return False


def _folded(writes: Iterable[Write]) -> dict[str, str]:
    values: dict[str, str] = {}
    for write in sorted(writes, key=attrgetter("order")):
        if write.name is None:
            values.clear()
        elif write.value is None:
            values.pop(write.name, None)
        else:
            values[write.name] = write.value
    return values


def _replaces(write: Write, other: Write) -> bool:
    return write.name is None or write.name == other.name


def _is_in(write: Write, line: str) -> bool:
    return not line or positions.is_within(write.position, line)
