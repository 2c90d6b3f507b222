"""Names that a definition gives: what no column can hold is refused before there is any saga."""

import pytest

from services.orchestrator.engine import Step, workflow


async def _undo(_step: Step[None]) -> None:
    """Do nothing."""


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
