"""Names that a definition gives: what no column can hold is refused before there is any saga."""

from typing import cast

import pytest

from services.orchestrator.engine import Step, workflow
from services.orchestrator.engine.authoring.names import name_of


async def _undo(_step: Step[None]) -> None:
    """Do nothing."""


def test_a_step_that_was_called_already_has_no_name() -> None:
    """A coroutine in the place of its function is told as what it is."""
    called = _undo(cast("Step[None]", None))
    with pytest.raises(TypeError, match="is a function with a name, not a coroutine"):
        name_of(called)
    called.close()
    assert name_of(_undo) == _undo.__name__


@pytest.mark.parametrize("name", ["", "a\0b", "a\ud800"])
def test_a_definition_has_names_that_can_be_stored(name: str) -> None:
    """Its own, those of its promises and its alarm: otherwise there is no definition."""
    with pytest.raises(ValueError, match=r"workflow"):
        workflow(name)
    with pytest.raises(ValueError, match=r"declares"):
        workflow("good", promises={name: str})
    with pytest.raises(ValueError, match=r"declares"):
        workflow("good", failure_alarm=name)
    _undo.__name__ = name
    with pytest.raises(ValueError, match=r"declares"):
        workflow("good", undos=[_undo])


@pytest.mark.parametrize("name", ["a/b", "a b", "é", "a" * 101, "a\n"])
def test_a_promise_has_a_name_that_an_address_can_hold(name: str) -> None:
    """Whoever settles it names it in an address; under another name nobody could."""
    with pytest.raises(ValueError, match=r"promise .* of workflow 'good' has 1 to 100 letters, digits"):
        workflow("good", promises={name: str})
    workflow("good", promises={"A-z_0.9": str, "a" * 100: str})


def test_a_workflow_has_a_name_that_a_request_can_hold() -> None:
    """Who starts a saga gives its workflow's name, of at most 100 characters."""
    workflow("é" * 100)
    with pytest.raises(ValueError, match="the name of a workflow has at most 100 characters"):
        workflow("a" * 101)
