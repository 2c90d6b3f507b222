"""The undo rows that a run has written, kept in memory, so that unwinding need not read them."""

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime

from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.flush import Flush
from services.orchestrator.engine.model.records import HAVE_RESULTS, LogRecord, Undo, UndoStatus


def is_registered(registered: Mapping[str, Undo], position: str, name: str, args: str, codec: Codec) -> bool:
    """Say whether an undo has been registered at `position` by this name and with these arguments."""
    undo = registered.get(positions.undo_of(position))
    return undo is not None and undo.name == name and codec.same(undo.args, args)


class UndoRows:
    """What the flushes of one run have written of undos; one that walks over an older log does not know those in it."""

    __slots__ = ("_rows",)

    def __init__(self) -> None:
        """Begin with a saga of which nothing is known."""
        self._rows: dict[str, Undo] = {}

    def all(self, count: int) -> Sequence[Undo] | None:
        """Return all undos that the saga has registered, `count` of them; None if others were registered before."""
        return tuple(self._rows.values()) if len(self._rows) == count else None

    def remember(self, read: Iterable[Undo]) -> None:
        """Take all rows of the saga as they were read."""
        self._rows = {undo.position: undo for undo in read}

    def done(self, changes: Iterable[Undo]) -> Mapping[str, datetime]:
        """Return when undos were done, the latest of each name; `changes` are those that the next flush writes.

        An undo that an operator has settled by hand is none of them.
        """
        standing = {**self._rows, **{undo.position: undo for undo in changes}}
        finished = [
            (undo.finished_at, undo.name)
            for undo in standing.values()
            if undo.status is UndoStatus.DONE and undo.finished_at is not None
        ]
        return {name: at for at, name in sorted(finished)}

    def apply(self, flush: Flush) -> None:
        """Take in what an applied flush has written."""
        if self._rows:
            self._take_changes(flush.undo_changes)
        if flush.undos:
            self._rows.update((undo.position, undo) for undo in flush.undos)
        if self._rows:
            self._take_results(flush.records)

    def _take_results(self, records: Iterable[LogRecord]) -> None:
        for record in records:
            if record.kind in HAVE_RESULTS and (undo := self._rows.get(positions.undo_of(record.position))) is not None:
                self._rows[undo.position] = undo._replace(step_output=record.output)

    def _take_changes(self, changes: Iterable[Undo]) -> None:
        """Take in changes: those of an undo that is done are its row, changed; a waiver names it, and what is new."""
        for change in changes:
            if (undo := self._rows.get(change.position)) is None:
                continue
            is_waiver = not change.seq
            self._rows[undo.position] = (
                undo._replace(status=change.status, finished_at=change.finished_at) if is_waiver else change
            )
