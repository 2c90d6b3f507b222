"""A durable saga engine on Postgres; everything outside this package imports from here.

Authors use `workflow`, `WorkflowContext`, `Step`, `Transaction`, `RetryPolicy` and the terminal errors. The service
builds an `Engine` from a `Registry` and calls its `operations`. Telemetry and tests subclass `EngineHooks`.

Inside, from top to bottom: `runtime` builds an engine; `operations` are what callers may do; `loops` run in the
background; `running` is one turn of one saga; `authoring` is what authors see; `store` has the SQL; `model` has values.
"""

from services.orchestrator.engine.authoring.context import SignalHandle, WorkflowContext
from services.orchestrator.engine.authoring.definition import Registry, Transition, WorkflowDefinition, workflow
from services.orchestrator.engine.authoring.found import Found
from services.orchestrator.engine.authoring.names import PROMISE_NAME
from services.orchestrator.engine.authoring.state import State
from services.orchestrator.engine.authoring.step import Step
from services.orchestrator.engine.authoring.transaction import Transaction
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.errors import (
    CannotCancel,
    CannotOperate,
    ChildFailed,
    EngineError,
    InvalidValue,
    PayloadError,
    SagaConflict,
    SignalRejected,
    SignalTimeout,
    StepFailed,
    TerminalError,
    UnknownSaga,
    UnknownSignal,
    UnknownVersion,
    UnknownWorkflow,
    UnreadableSaga,
    WideSearch,
)
from services.orchestrator.engine.model.flush import Flush
from services.orchestrator.engine.model.records import ErrorInfo, NewSaga, Saga, Signal
from services.orchestrator.engine.model.retry import Interrupted, RetryPolicy
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.operations import Operations
from services.orchestrator.engine.operations.requests import Once
from services.orchestrator.engine.operations.views import (
    OpenPromise,
    PromiseView,
    SagaEnd,
    SagaFilter,
    SagaPage,
    SagaView,
    SettledSignal,
    Settlement,
    Started,
    StartRequest,
    StepView,
)
from services.orchestrator.engine.runtime import Engine

__all__ = [
    "PROMISE_NAME",
    "CannotCancel",
    "CannotOperate",
    "ChildFailed",
    "Codec",
    "Engine",
    "EngineError",
    "EngineHooks",
    "EngineSettings",
    "ErrorInfo",
    "Flush",
    "Found",
    "Interrupted",
    "InvalidValue",
    "NewSaga",
    "Once",
    "OpenPromise",
    "Operations",
    "PayloadError",
    "PromiseView",
    "Registry",
    "RetryPolicy",
    "Saga",
    "SagaConflict",
    "SagaEnd",
    "SagaFilter",
    "SagaPage",
    "SagaView",
    "SettledSignal",
    "Settlement",
    "Signal",
    "SignalHandle",
    "SignalRejected",
    "SignalTimeout",
    "StartRequest",
    "Started",
    "State",
    "Step",
    "StepFailed",
    "StepView",
    "TerminalError",
    "Transaction",
    "Transition",
    "UnknownSaga",
    "UnknownSignal",
    "UnknownVersion",
    "UnknownWorkflow",
    "UnreadableSaga",
    "WideSearch",
    "WorkflowContext",
    "WorkflowDefinition",
    "workflow",
]
