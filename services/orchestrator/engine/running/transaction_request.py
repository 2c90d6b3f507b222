"""A request of workflow code for a transaction: answered from the log, from what a restart kept, or by running it."""

from collections.abc import Awaitable, Callable
from typing import Any, NamedTuple

from services.orchestrator.engine.authoring.definition import WorkflowDefinition
from services.orchestrator.engine.authoring.payloads import require_payload
from services.orchestrator.engine.authoring.signature import signature_of
from services.orchestrator.engine.model import positions
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.commands import RunTransaction
from services.orchestrator.engine.model.errors import ArgumentsChanged
from services.orchestrator.engine.model.records import Kind
from services.orchestrator.engine.model.retry import RetryPolicy
from services.orchestrator.engine.running.log import RunLog
from services.orchestrator.engine.running.step_records import result_of, undo_of
from services.orchestrator.engine.running.undo_rows import is_registered


class TransactionRequest(NamedTuple):
    """The arguments of `ctx.transaction`."""

    name: str
    fn: Callable[..., Awaitable[Any]]
    args: tuple[Any, ...]
    undo: Callable[..., Awaitable[None]] | None
    retry: RetryPolicy
    timeout_s: float

    async def answer(self, log: RunLog, definition: WorkflowDefinition, codec: Codec) -> Any:
        """Return the recorded result, or raise the recorded error; if there is no record, have the executor run it."""
        position = log.next_position()
        record = log.take(position, Kind.TRANSACTION, self.name)
        signature = signature_of(self.fn)
        if record is not None:
            return result_of(log, record, codec, signature)
        signature.require(len(self.args), f"the transaction {self.name!r}")
        require_payload(signature.result, codec, f"the result of the transaction {self.name!r}")
        undo_name, undo_args = undo_of(log, definition, codec, self.undo, self.args, signature, self.name)
        if log.carried(position) is not None:
            self._take_up(log, codec, position, undo_name, undo_args)
            what = f"{Kind.TRANSACTION} {self.name!r}"
            return log.read(codec, log.record_again(position), signature.result, position, what)
        return await RunTransaction(
            position, self.name, self.fn, self.args, signature.result, self.retry, self.timeout_s, undo_name, undo_args
        )

    def _take_up(self, log: RunLog, codec: Codec, position: str, undo_name: str | None, undo_args: str | None) -> None:
        """Keep what was committed before a restart: its undo is owed for the arguments that it was committed with."""
        if undo_name is None or undo_args is None:
            return
        registered = log.registered.get(positions.undo_of(position))
        if registered is None:
            log.pending.add_undo(undo_name, undo_args, position, position)
        elif not is_registered(log.registered, position, undo_name, undo_args, codec):
            raise log.fail(ArgumentsChanged(self.name, position, registered.name))
