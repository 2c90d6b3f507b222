"""Calls of sagas by sagas: what the log and the undo of one say, and how the saga that was called stands."""

from datetime import datetime
from typing import Any, Final, NamedTuple

import orjson

from services.orchestrator.engine.model.records import ErrorInfo
from services.orchestrator.engine.model.states import Outcome

CANCEL_CALL: Final = "cancel_call"
"""The name of every call's undo, which is the engine's own; no workflow may declare one of this name."""


def label_of(workflow: str, key: str) -> str:
    """Return what people see of a called saga."""
    return f"{workflow}/{key}"


def write_made(saga_id: str, until: datetime | None) -> str:
    """Write what is recorded of a call: whom it is for, and until when its result is waited for."""
    return orjson.dumps({"saga_id": saga_id, "until": until}).decode()


def read_until(output: str | None) -> datetime | None:
    """Read until when a recorded call waits."""
    until = orjson.loads(output or "{}").get("until")
    return None if until is None else datetime.fromisoformat(until)


class CallUndo(NamedTuple):
    """The arguments of a call's undo: the saga's id and label, and what undoes it once it has completed, if anything.

    `input` is what the author's `compensate` gets besides the output.
    """

    saga_id: str
    label: str
    compensate: str | None
    input: Any

    @staticmethod
    def shape(input_shape: Any) -> Any:
        """Return the type of these arguments, as they are written."""
        return tuple[str, str, str | None, input_shape]


class Called(NamedTuple):
    """How a called saga stands; `output` is JSON text, None once it is erased.

    `outcome` is None until it has ended; `is_ours`: the asking saga has started it, and so may cancel it.
    """

    status: str
    is_ours: bool
    outcome: Outcome | None
    output: str | None
    needs: str | None


class ChildEnd(NamedTuple):
    """How a saga has ended that others wait for: its output as JSON text, or its error."""

    saga_id: str
    outcome: str
    output: str | None
    error: ErrorInfo | None
