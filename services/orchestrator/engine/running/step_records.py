"""What the records and the undos of steps and of transactions have in common."""

from collections.abc import Awaitable, Callable
from typing import Any

from services.orchestrator.engine.authoring.definition import WorkflowDefinition
from services.orchestrator.engine.authoring.signature import Signature, signature_of
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.errors import PayloadError, StepFailed
from services.orchestrator.engine.model.records import LogRecord
from services.orchestrator.engine.running.log import RunLog


def result_of(log: RunLog, record: LogRecord, codec: Codec, signature: Signature) -> Any:
    """Return a recorded result; StepFailed if an error is recorded, Divergence if it is of another type."""
    if record.error is not None:
        raise StepFailed(record.error.code, record.error.message)
    return log.read(codec, record.output, signature.result, record.position, f"{record.kind} {record.name!r}")


def undo_of(
    log: RunLog,
    definition: WorkflowDefinition,
    codec: Codec,
    undo: Callable[..., Awaitable[None]] | None,
    args: tuple[Any, ...],
    signature: Signature,
    step: str,
) -> tuple[str | None, str | None]:
    """Return the declared name of a step's undo, and its arguments as they are written; nothing if there is none."""
    if undo is None:
        return None, None
    name = log.declared(lambda: definition.undo_name(undo))
    undoing, count = signature_of(undo), len(args)
    undoing.require(1 + count, f"the undo {name!r}")
    encoded = codec.encode(args, signature.shape_of_args(count))
    if undoing.params[1 : 1 + count] != signature.params[:count]:
        _require_readable(codec, encoded, undoing.shape_of_args(count, skip=1), f"the undo {name!r}", step)
    return name, encoded


def _require_readable(codec: Codec, args: str, shape: Any, undo: str, step: str) -> None:
    """Make sure that an undo can read arguments that are written by other types than its own; TypeError."""
    try:
        codec.decode(args, shape)
    except PayloadError as error:
        raise TypeError(f"{undo} could not read the arguments of {step!r}: {error.message}") from error
