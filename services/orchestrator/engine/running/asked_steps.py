"""What steps and transactions have in common when workflow code asks for them."""

from collections.abc import Awaitable, Callable
from typing import Any

from services.orchestrator.engine.authoring.definition import WorkflowDefinition
from services.orchestrator.engine.authoring.signature import Signature, signature_of
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.errors import StepFailed
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
) -> tuple[str | None, str | None]:
    """Return the declared name of an undo, and its arguments as they are written; nothing if there is none."""
    if undo is None:
        return None, None
    name = log.declared(lambda: definition.undo_name(undo))
    signature_of(undo).require(1 + len(args), f"the undo {name!r}")
    return name, codec.encode(args, signature.shape_of_args(len(args)))
