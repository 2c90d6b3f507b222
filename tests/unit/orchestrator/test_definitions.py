"""Definitions of workflows: what cannot work is refused where it is written, and says what would."""

from collections.abc import Callable
from functools import partial
from typing import Any

import pytest

from services.orchestrator.engine import Registry, WorkflowDefinition, workflow
from services.orchestrator.engine.authoring.signature import signature_of
from services.orchestrator.engine.model.errors import UndeclaredName


async def fine(ctx: Any, value: int = 0) -> int:
    del ctx
    return value


def not_async(ctx: Any, value: int) -> int:
    del ctx
    return value


async def yielding(ctx: Any, value: int) -> Any:
    del ctx
    yield value


async def without_input(ctx: Any) -> None:
    del ctx


async def with_more(ctx: Any, value: int, more: int) -> None:
    del ctx, value, more


async def by_keyword(ctx: Any, *, value: int) -> None:
    del ctx, value


@pytest.mark.parametrize("fn", [not_async, yielding, without_input, with_more, by_keyword, partial(fine)])
def test_a_workflow_is_a_coroutine_function_of_a_context_and_an_input(fn: Any) -> None:
    """Anything else would be found out by its first saga; it is refused by name, where it is defined."""
    with pytest.raises(TypeError, match="workflow 'odd'"):
        workflow("odd")(fn)
    assert workflow("fine")(fine).input_type is int


@pytest.mark.parametrize("undo", [not_async, yielding, partial(fine)])
def test_an_undo_is_a_coroutine_function(undo: Any) -> None:
    """One that is not would be found out by a saga that has failed already."""
    with pytest.raises(TypeError, match=r"undo .* of workflow 'odd' must be an `async def`"):
        workflow("odd", undos=[undo])


def test_the_retries_of_undos_are_a_policy() -> None:
    """A number would be found out by an undo that has failed."""
    with pytest.raises(TypeError, match="undo_retry= of workflow 'odd' must be a RetryPolicy, not 3"):
        workflow("odd", undo_retry=3)  # type: ignore[arg-type]


def named(name: str) -> Callable[..., Any]:
    """Make a coroutine function of a name."""

    async def made(*_: object) -> None: ...

    made.__name__ = name
    return made


def test_two_things_of_one_name_are_refused() -> None:
    """Rows hold names, so the second of two would be taken for the first; the same one twice is harmless."""
    with pytest.raises(ValueError, match="two undos of the name 'undo'"):
        workflow("odd", undos=[named("undo"), named("undo")])
    with pytest.raises(ValueError, match="two awakeables of the name 'Shape'"):
        workflow("odd", awakeables=[type("Shape", (), {}), type("Shape", (), {})])
    undo = named("undo")
    assert list(workflow("fine", undos=[undo, undo], awakeables=[list[int], list[int]])(fine).undos) == ["undo"]


class Office:
    """Somebody whose method is an undo."""

    async def give_back(self, *_: object) -> None: ...


def test_a_method_is_known_again() -> None:
    """A bound method is another object each time, and the same undo."""
    office = Office()
    assert workflow("fine", undos=[office.give_back])(fine).undo_name(office.give_back) == "give_back"
    with pytest.raises(UndeclaredName):
        workflow("fine", undos=[Office().give_back])(fine).undo_name(office.give_back)


def defined(*shapes: Any) -> WorkflowDefinition:
    return workflow("fine", awakeables=shapes)(fine)


@pytest.mark.scenario("P12")
@pytest.mark.parametrize("shape", [list[int], dict[str, int], int | None, int | str])
def test_a_parametrised_type_is_declared_like_any(shape: Any) -> None:
    """A union passes for no type that is built in: what comes from outside would not be checked by it."""
    with pytest.raises(UndeclaredName, match="add it to awakeables"):
        defined().awakeable_name(shape)
    declared = defined(shape, list[str])
    assert declared.awakeable_shape(declared.awakeable_name(shape)) == shape
    assert declared.awakeable_name(list[str]) == "list[str]"


@pytest.mark.parametrize(
    ("shape", "name"),
    [(Any, "any"), (dict, "dict"), (dict[str, Any], "dict"), (list, "list"), (None, "NoneType"), (bool, "bool")],
)
def test_what_is_built_in_needs_no_declaration(shape: Any, name: str) -> None:
    """The types of plain JSON have names of their own."""
    assert defined().awakeable_name(shape) == name


async def many(step: Any, first: int, *others: str, last: int = 0) -> None:
    del step, first, others, last


async def some(step: Any, first: int, second: int = 0) -> None:
    del step, first, second


async def nobody() -> None: ...


@pytest.mark.parametrize(
    ("fn", "fitting", "others"),
    [(fine, [0, 1], [2]), (with_more, [2], [1, 3]), (some, [1, 2], [0, 3]), (many, [1, 2, 9], [0])],
)
def test_a_signature_knows_what_fits(fn: Any, fitting: list[int], others: list[int]) -> None:
    """It counts what is taken by position behind the first: defaults may be left out, a star takes any number."""
    for count in fitting:
        signature_of(fn).require(count, "it")
    for count in others:
        with pytest.raises(TypeError, match="it would be called with"):
            signature_of(fn).require(count, "it")


@pytest.mark.parametrize("fn", [nobody, by_keyword])
def test_what_takes_nothing_by_position_fits_nothing(fn: Any) -> None:
    """A function without a first parameter, or with one that must be named, cannot be called by the engine."""
    for count in (0, 1):
        with pytest.raises(TypeError, match="takes none"):
            signature_of(fn).require(count, "it")


async def undo_later(step: Any, value: "Undefined") -> None:  # type: ignore[name-defined]  # noqa: F821 - likewise
    del step, value


async def later(ctx: Any, value: "Undefined") -> None:  # type: ignore[name-defined]  # noqa: F821 - that is the point
    del ctx, value


def test_annotations_are_read_when_a_replica_begins() -> None:
    """A type that only a type checker knows is told of before any saga is started with it."""
    definition = workflow("odd")(later)
    with pytest.raises(TypeError, match=r"annotations of workflow 'odd' cannot be read.*TYPE_CHECKING"):
        Registry([definition])
    undone = workflow("odd", undos=[undo_later])(fine)
    with pytest.raises(TypeError, match=r"annotations of the undo 'undo_later' of workflow 'odd' cannot be read"):
        Registry([undone])


@pytest.mark.parametrize("version", [0, -1, 2**31, True, "1", 1.0])
def test_a_version_is_a_number_that_a_row_can_hold(version: Any) -> None:
    """Anything else would be found out by its first saga."""
    with pytest.raises((TypeError, ValueError), match="the version of workflow 'odd' must be a whole number from 1 on"):
        workflow("odd", version=version)


def test_one_version_is_registered_once() -> None:
    """The same name and version twice is refused; another version stands beside it."""
    first, second = workflow("fine", version=1)(fine), workflow("fine", version=2)(fine)
    with pytest.raises(ValueError, match="registered twice"):
        Registry([first, first])
    assert Registry([second, first]).newest("fine") is second
