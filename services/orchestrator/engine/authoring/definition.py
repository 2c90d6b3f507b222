"""The definition of a workflow, and the registry of those that a replica can run."""

import inspect
from collections.abc import Awaitable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final, Protocol, TypeVar, get_origin

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine.authoring.names import checked_name, require_promise_name, require_workflow_name
from services.orchestrator.engine.authoring.signature import require_arguments, signature_of
from services.orchestrator.engine.model.calls import CANCEL_CALL
from services.orchestrator.engine.model.errors import UndeclaredName, UnknownSignal, UnknownVersion, UnknownWorkflow
from services.orchestrator.engine.model.records import ErrorInfo
from services.orchestrator.engine.model.retry import UNDO_RETRY, RetryPolicy, checked_policy

T = TypeVar("T")

BUILT_IN_SHAPES: dict[str, Any] = {
    "any": Any,
    "dict": dict[str, Any],
    "list": list[Any],
    "str": str,
    "int": int,
    "float": float,
    "bool": bool,
    "NoneType": type(None),
}
"""Types of awakeables that need no declaration."""
_BARE: Final[Mapping[Any, str]] = {dict: "dict", list: "list", None: "NoneType"}
"""Other spellings of these types."""


@dataclass(frozen=True, slots=True)
class Transition:
    """A change of status that `on_transition` announces: to an end, or to `stuck`.

    `number` differs for every change of a saga, also if it gets stuck again for the same reason. `before` and `after`
    are status words; `input` and `output` have the workflow's own types. `undone`, for an end: when each undo was done,
    by name; undos that an operator has skipped are not among them.
    """

    saga_id: str
    workflow: str
    key: str
    number: int
    before: str
    after: str
    input: Any
    output: Any
    error: ErrorInfo | None
    undone: Mapping[str, datetime] = field(default_factory=dict)


class TransitionListener(Protocol):
    """A pure function from a change of status to the messages that announce it."""

    def __call__(self, transition: Transition, /) -> Iterable[Message]:
        """Return the messages to send in the transaction of the change."""
        ...


@dataclass(frozen=True, slots=True)
class WorkflowDefinition:
    """A workflow: its code under a name and a version, and every name that its rows may hold.

    `undos` are all functions that it uses as compensations. The row of an undo has the name of its function, so that it
    runs without a replay. `failure_alarm` is the kind of alarm, with an audit row, that a failed saga raises; None if
    failures are normal.
    """

    name: str
    version: int
    fn: Callable[..., Awaitable[Any]]
    promises: Mapping[str, Any] = field(default_factory=dict)
    awakeables: Mapping[str, Any] = field(default_factory=dict)
    undos: Mapping[str, Callable[..., Awaitable[None]]] = field(default_factory=dict)
    undo_retry: RetryPolicy = UNDO_RETRY
    on_transition: TransitionListener | None = None
    admin_may_start: bool = False
    failure_alarm: str | None = None

    @property
    def input_type(self) -> Any:
        """Return the declared type of the workflow's input."""
        params = signature_of(self.fn).params
        return params[0] if params else Any

    @property
    def output_type(self) -> Any:
        """Return the declared type of the workflow's result."""
        return signature_of(self.fn).result

    def undo_name(self, fn: Callable[..., Awaitable[None]]) -> str:
        """Return the stable name of a declared undo; UndeclaredName otherwise."""
        name: str = fn.__name__
        if self.undos.get(name) != fn:
            raise UndeclaredName(f"workflow {self.name!r} uses the undo {name!r}; add it to undos=[…]")
        return name

    def promise_shape(self, name: str) -> Any:
        """Return the type of a declared promise; UndeclaredName otherwise."""
        if name not in self.promises:
            raise UndeclaredName(f"workflow {self.name!r} declares no promise {name!r}; add it to promises={{…}}")
        return self.promises[name]

    def awakeable_name(self, shape: Any) -> str:
        """Return the stable name of an awakeable's type; UndeclaredName if it is neither built in nor declared."""
        for name, known in (*self.awakeables.items(), *BUILT_IN_SHAPES.items()):
            if known == shape:
                return name
        if shape in _BARE:
            return _BARE[shape]
        raise UndeclaredName(
            f"workflow {self.name!r} awaits an awakeable of {shape_name(shape)}; add it to awakeables=[…]"
        )

    def awakeable_shape(self, name: str) -> Any:
        """Return the type behind a stable name; any JSON value if this version does not know it."""
        return self.awakeables.get(name, BUILT_IN_SHAPES.get(name, Any))


def workflow(  # noqa: PLR0913 - each is a keyword that most authors leave out
    name: str,
    *,
    version: int = 1,
    promises: Mapping[str, Any] | None = None,
    awakeables: Sequence[Any] = (),
    undos: Sequence[Callable[..., Awaitable[None]]] = (),
    undo_retry: RetryPolicy = UNDO_RETRY,
    on_transition: TransitionListener | None = None,
    admin_may_start: bool = False,
    failure_alarm: str | None = None,
) -> Callable[[Callable[..., Awaitable[Any]]], WorkflowDefinition]:
    """Define a workflow: ``async def fn(ctx: WorkflowContext, input: In) -> Out``.

    `promises`: the types of its promises, by name. `awakeables`: the types of its awakeables. `undos`: every function
    that it uses as a compensation. When `undo_retry` gives up, the saga is stuck. `failure_alarm`: the alarm to raise
    when a saga fails and nobody else deals with it.

    TypeError if a function is no `async def` with the right parameters, or for what is no RetryPolicy. ValueError for a
    name that is used twice, is empty or cannot be stored, for a promise's name that cannot be in a URL, and for a
    version that is no whole number from 1 on.
    """
    for undo in undos:
        _require_async(undo, f"the undo {getattr(undo, '__name__', undo)!r} of workflow {name!r}")
    named_undos = _by_name(name, "undos", ((undo.__name__, undo) for undo in undos))
    named_shapes = _by_name(name, "awakeables", ((shape_name(shape), shape) for shape in awakeables))
    require_workflow_name(name, version)
    checked_policy(f"undo_retry= of workflow {name!r}", undo_retry)
    for one in (*named_shapes, *named_undos, *([] if failure_alarm is None else [failure_alarm])):
        checked_name(f"a name that workflow {name!r} declares", one)
    for promise in promises or ():
        require_promise_name(name, promise)
    if CANCEL_CALL in named_undos:
        raise ValueError(f"workflow {name!r} has an undo {CANCEL_CALL!r}, which is the engine's own name")

    def define(fn: Callable[..., Awaitable[Any]]) -> WorkflowDefinition:
        _require_async(fn, f"workflow {name!r}")
        require_arguments(fn, 1, f"workflow {name!r}")
        return WorkflowDefinition(
            name=name,
            version=version,
            fn=fn,
            promises=dict(promises or {}),
            awakeables=named_shapes,
            undos=named_undos,
            undo_retry=undo_retry,
            on_transition=on_transition,
            admin_may_start=admin_may_start,
            failure_alarm=failure_alarm,
        )

    return define


def require_definition(what: str, definition: WorkflowDefinition) -> None:
    """TypeError unless `definition` is one: authors also pass a name or a function."""
    if not isinstance(definition, WorkflowDefinition):
        raise TypeError(f"{what} must be a definition, as @workflow makes it, not a {type(definition).__name__}")


def shape_name(shape: Any) -> str:
    """Return the stable name of a type: the name of a class, the spelling of a parametrised type or a union."""
    is_class = isinstance(shape, type) and get_origin(shape) is None
    return str(shape.__name__) if is_class else repr(shape)


def _require_async(fn: Callable[..., Any], what: str) -> None:
    if not inspect.iscoroutinefunction(fn) or not hasattr(fn, "__name__"):
        raise TypeError(f"{what} must be an `async def` that does not yield")


def _require_readable(definition: WorkflowDefinition) -> None:
    workflow_words = f"workflow {definition.name!r}"
    undos = {f"the undo {name!r} of {workflow_words}": undo for name, undo in definition.undos.items()}
    for what, fn in {workflow_words: definition.fn, **undos}.items():
        try:
            signature_of(fn)
        except NameError as error:
            raise TypeError(
                f"the annotations of {what} cannot be read ({error}): "
                "import what they name outside of `if TYPE_CHECKING`"
            ) from error


def _by_name(workflow_name: str, what: str, pairs: Iterable[tuple[str, T]]) -> dict[str, T]:
    found: dict[str, T] = {}
    for name, one in pairs:
        if found.setdefault(name, one) != one:
            raise ValueError(f"workflow {workflow_name!r} has two {what} of the name {name!r}, and rows hold names")
    return found


class Registry:
    """The workflows that a replica can run: an explicit list, one entry per name and version."""

    def __init__(self, definitions: Iterable[WorkflowDefinition]) -> None:
        """Take the definitions; the same name and version twice is an error."""
        self._by_version: dict[tuple[str, int], WorkflowDefinition] = {}
        for definition in definitions:
            key = (definition.name, definition.version)
            if key in self._by_version:
                raise ValueError(f"workflow {definition.name!r} version {definition.version} is registered twice")
            _require_readable(definition)
            self._by_version[key] = definition

    def __iter__(self) -> Iterator[WorkflowDefinition]:
        """Go through all definitions, in the order of their registration."""
        return iter(self._by_version.values())

    def get(self, name: str, version: int) -> WorkflowDefinition | None:
        """Return one version, None if this replica does not have it."""
        return self._by_version.get((name, version))

    def newest(self, name: str) -> WorkflowDefinition:
        """Return the newest version of a workflow, which new sagas run; UnknownWorkflow if there is none."""
        versions = [definition for definition in self if definition.name == name]
        if not versions:
            raise UnknownWorkflow(f"no workflow {name!r} is registered; there are {', '.join(self.names())}")
        return max(versions, key=lambda definition: definition.version)

    def require_promise(self, workflow: str, version: int, name: str) -> None:
        """Make sure that a version of a workflow declares a promise; UnknownVersion, UnknownSignal."""
        definition = self.get(workflow, version)
        if definition is None:
            raise UnknownVersion(workflow, version)
        if name not in definition.promises:
            raise UnknownSignal

    def names(self) -> list[str]:
        """Return the names of all workflows, sorted."""
        return sorted({definition.name for definition in self})
