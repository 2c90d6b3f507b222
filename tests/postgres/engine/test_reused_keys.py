"""A target that knows a step's key with another content: it has done something under it, whatever that was."""

import pytest

from services.chassis.errors import KeyReused
from tests.postgres.engine.conftest import ClusterOf
from tests.support.workflows import booking
from tests.support.world import refused


@pytest.mark.scenario("K2", "RC15")
@pytest.mark.parametrize(("code", "undone"), [("refused", ["a"]), (KeyReused.code, ["b", "a"])])
async def test_a_key_used_with_other_content_is_undone(cluster_of: ClusterOf, code: str, undone: list[str]) -> None:
    """A plain refusal owes no undo; one that says the key came with another content does, for it took effect once."""
    cluster = cluster_of(booking)
    cluster.world.script("b", refused(code))
    view = await cluster.run(booking)
    assert (view.status, view.error and view.error.code) == ("failed", code)
    assert len(cluster.world.called("b")) == 1
    assert [call.name for call in cluster.world.calls if call.name.startswith("undo")] == [f"undo {n}" for n in undone]
