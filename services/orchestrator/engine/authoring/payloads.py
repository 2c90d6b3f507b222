"""Checks of the types that authors declare: a type that the codec cannot write is refused before any saga uses it."""

from collections.abc import Iterator
from typing import Any

from services.orchestrator.engine.authoring.definition import WorkflowDefinition
from services.orchestrator.engine.authoring.signature import signature_of
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.errors import PayloadError


def require_payloads(definition: WorkflowDefinition, codec: Codec) -> None:
    """Check every type that a definition declares; TypeError names the one that cannot be written."""
    for what, shape in _declared(definition):
        require_payload(shape, codec, f"workflow {definition.name!r} version {definition.version}: {what}")


def require_payload(shape: Any, codec: Codec, what: str) -> None:
    """Check one type; TypeError if the codec cannot write it. `what` says where it is declared."""
    try:
        codec.require(shape)
    except PayloadError as error:
        raise TypeError(f"{what} cannot be kept: {error.message}") from error


def _declared(definition: WorkflowDefinition) -> Iterator[tuple[str, Any]]:
    """Yield each declared type of a definition, and where it is declared."""
    yield "its input", definition.input_type
    yield "its result", definition.output_type
    for name, shape in definition.promises.items():
        yield f"the promise {name!r}", shape
    for name, shape in definition.awakeables.items():
        yield f"the awakeable {name!r}", shape
    for name, fn in definition.undos.items():
        for number, shape in enumerate(signature_of(fn).params, start=1):
            yield f"argument {number} of the undo {name!r}", shape
