"""The recorded part of a log during a replay: finds records by position, and detects divergence."""

from collections.abc import Iterable, Mapping

from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.errors import Divergence
from services.orchestrator.engine.model.records import Call, Kind, LogRecord


class Replay:
    """The records that the code has not asked for yet, and the calls that are under way.

    A record leaves memory when the code has taken it, so that a saga kept in memory does not hold its log.
    """

    def __init__(self, records: Iterable[LogRecord], calls: Iterable[Call]) -> None:
        """Take the log as read, in any order."""
        self._records = {record.position: record for record in records}
        self._calls = {call.position: call for call in calls}

    def take(self, position: str, kind: Kind, name: str) -> LogRecord | None:
        """Return the record at `position`, None if the code has got further than the log; Divergence if they differ."""
        record = self._records.pop(position, None)
        if record is None:
            return None
        if record.kind is not kind or record.name != name:
            raise Divergence(position, f"{record.kind} {record.name!r}", f"{kind} {name!r}")
        return record

    def take_call(self, position: str, kind: Kind, name: str) -> Call | None:
        """Return the call that was under way at `position` when the saga was last written."""
        call = self._calls.pop(position, None)
        if call is not None and (call.kind is not kind or call.name != name):
            raise Divergence(position, f"{call.kind} {call.name!r}", f"{kind} {name!r}")
        return call

    @property
    def calls(self) -> Mapping[str, Call]:
        """Return the calls that the code has not asked for yet, by position."""
        return self._calls

    def forget(self, branch: str) -> None:
        """Drop what a branch recorded before it lost its select."""
        for position in [position for position in self._records if positions.is_within(position, branch)]:
            del self._records[position]
        for position in [position for position in self._calls if positions.is_within(position, branch)]:
            del self._calls[position]

    def branches_begun(self, position: str) -> int:
        """Count the branches at `position` that had begun, one after another, up to the last that left something."""
        within = (positions.branch_within(other, position) for other in (*self._records, *self._calls))
        return max((branch + 1 for branch in within if branch is not None), default=0)

    def goes_on_after(self, position: str) -> bool:
        """Say whether the log has more of the code behind `position`: then what stands there is over.

        It decides for a timer that has fired once, even if the database's clock has been set back since.
        """
        return any(positions.is_after(other, position) for other in (*self._records, *self._calls))

    @property
    def replaying(self) -> bool:
        """Say whether the code still walks over recorded ground."""
        return bool(self._records)

    def first_left(self) -> LogRecord | Call | None:
        """Return what the log knows of and the code has not asked for, the first as the code reads; None if nothing."""
        if not self._records and not self._calls:
            return None
        left: list[LogRecord | Call] = [*self._records.values(), *self._calls.values()]
        return min(left, key=lambda one: positions.order(one.position))
