"""Puts together what a turn of a saga needs."""

from typing import Any

from services.chassis.clock import Clock
from services.chassis.db import Database
from services.chassis.logs import get_logger
from services.orchestrator.engine.authoring.definition import Registry
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.call_undos import StopCalled
from services.orchestrator.engine.running.calls import Caller
from services.orchestrator.engine.running.committer import Committer
from services.orchestrator.engine.running.compensator import Compensator
from services.orchestrator.engine.running.endings import Endings
from services.orchestrator.engine.running.executor import Executor
from services.orchestrator.engine.running.loader import Loader
from services.orchestrator.engine.running.residents import Residents
from services.orchestrator.engine.running.transactions import Transactions
from services.orchestrator.engine.running.turns import Turns


def turns_of(  # noqa: PLR0913 - it names each part once, as the composition root does
    *,
    registry: Registry,
    codec: Codec,
    clients: Any,
    database: Database,
    clock: Clock,
    committer: Committer,
    hooks: EngineHooks,
    settings: EngineSettings,
    transactions_database: Database,
    stop_called: StopCalled,
) -> Turns:
    """Return the turns of one replica; all of them write through `committer`, but for authors' transactions."""
    loader = Loader(database, clock, settings.lease_s)
    caller = Caller(clients, clock, hooks, get_logger("engine.step"))
    endings = Endings(committer, codec, hooks)
    compensator = Compensator(
        committer=committer,
        caller=caller,
        endings=endings,
        loader=loader,
        codec=codec,
        clock=clock,
        hooks=hooks,
        settings=settings,
        stop_called=stop_called,
    )
    executor = _executor_of(
        committer=committer,
        caller=caller,
        compensator=compensator,
        endings=endings,
        codec=codec,
        clock=clock,
        hooks=hooks,
        settings=settings,
        loader=loader,
        transactions_database=transactions_database,
    )
    return Turns(
        registry=registry,
        executor=executor,
        compensator=compensator,
        endings=endings,
        residents=Residents(settings.max_residents),
        loader=loader,
        hooks=hooks,
        codec=codec,
        clock=clock,
        clients=clients,
        settings=settings,
    )


def _executor_of(  # noqa: PLR0913 - likewise
    *,
    committer: Committer,
    caller: Caller,
    compensator: Compensator,
    endings: Endings,
    codec: Codec,
    clock: Clock,
    hooks: EngineHooks,
    settings: EngineSettings,
    loader: Loader,
    transactions_database: Database,
) -> Executor:
    transactions = Transactions(
        database=transactions_database,
        committer=committer,
        caller=caller,
        codec=codec,
        clock=clock,
        hooks=hooks,
        settings=settings,
    )
    return Executor(
        committer=committer,
        caller=caller,
        compensator=compensator,
        endings=endings,
        codec=codec,
        clock=clock,
        hooks=hooks,
        settings=settings,
        loader=loader,
        transactions=transactions,
    )
