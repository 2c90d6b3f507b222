"""Builds the parts of a replica that run turns."""

from typing import Any

from services.chassis.postgres.database import Database
from services.orchestrator.engine.authoring.definition import Registry
from services.orchestrator.engine.running.call_undos import CancelCalled
from services.orchestrator.engine.running.compensator import Compensator
from services.orchestrator.engine.running.executor import Executor
from services.orchestrator.engine.running.residents import Residents
from services.orchestrator.engine.running.tools import Tools
from services.orchestrator.engine.running.transactions import Transactions
from services.orchestrator.engine.running.turns import Turns


def turns_of(
    tools: Tools, *, registry: Registry, clients: Any, transactions_database: Database, cancel_called: CancelCalled
) -> Turns:
    """Return the turns of one replica; all of them write through the committer, but for authors' transactions."""
    compensator = Compensator(tools, cancel_called=cancel_called)
    return Turns(
        tools=tools,
        registry=registry,
        executor=Executor(tools, compensator=compensator, transactions=Transactions(tools, transactions_database)),
        compensator=compensator,
        residents=Residents(tools.settings.max_residents),
        clients=clients,
    )
