"""G7: an end is final, and a cancel is told which of the two happened, whenever it comes."""

from collections import Counter
from random import Random

import pytest

from services.orchestrator.engine import CannotCancel
from tests.falsifiers.trying import Sometime, Trying
from tests.support.engine import Cluster
from tests.support.figures import dice, figure, trials
from tests.support.workflows import swift

EVENTS = 24


@pytest.mark.scenario("G7")
async def test_a_cancel_at_any_offset_has_one_answer(trying: Trying) -> None:
    """A cancel beside any moment of a saga is accepted and the saga undone, or refused because it has completed."""
    rolls = dice("cancel")
    count = trials(60, 2_100)
    ends: Counter[str] = Counter()
    violations: list[str] = []
    async for number, cluster in trying.times(count, swift):
        end, *wrong = await _raced(cluster, f"order-{number}", rolls)
        ends[end] += 1
        violations += wrong
    what = "cancels beside a run of two steps, from its claim to after its end"
    measured = ", ".join(f"{ends[end]} {end}" for end in sorted(ends))
    figure("G7", trials=count, violations=len(violations), what=what, measured=measured)
    assert not violations
    assert set(ends) == {"completed", "cancelled"}


async def _raced(cluster: Cluster, key: str, rolls: Random) -> list[str]:
    """Run a saga and cancel it meanwhile: how it ended, and what contradicts that."""
    saga_id = await cluster.start(swift, key=key)

    async def cancel() -> str:
        operations = rolls.choice(cluster.replicas).engine.operations
        try:
            await operations.cancel(saga_id, by="ann", reason="changed my mind")
        except CannotCancel as error:
            return f"{error.reason} {(await operations.get(saga_id)).status}"
        return f"accepted {(await operations.get(saga_id)).status}"

    cancelled = Sometime.rolled(cancel, rolls, EVENTS)
    cluster.on_event = cancelled
    await cluster.settle()
    cluster.on_event = None
    told = await cancelled.done()
    view = await cluster.finish(saga_id)
    happened = cluster.world.happened(saga_id)
    taken = [name for name in happened if not name.startswith("undo ")]
    expected = {
        "accepted compensating": "cancelled",
        "accepted cancelled": "cancelled",
        "final completed": "completed",
    }.get(str(told))
    wrong = [] if view.status == expected else [f"{key}: told {told}, ended {view.status}"]
    undone = [f"undo {name}" for name in reversed(taken)] if view.status == "cancelled" else []
    if not _undone(happened[len(taken) :], undone, taken):
        wrong.append(f"{key}: {view.status}, {happened}")
    with pytest.raises(CannotCancel):
        await cluster.operations.cancel(saga_id, by="bob", reason="too late")
    await cluster.advance(60)
    if await cluster.view(saga_id) != view:
        wrong.append(f"{key}: has changed after its end")
    return [view.status, *wrong]


def _undone(found: list[str], owed: list[str], taken: list[str]) -> bool:
    """Whether the undos are those owed; of a call that was cut off before it took effect there may be one more."""
    return found == owed or (
        found[1:] == owed and found[:1] == [f"undo {'ab'[len(taken)]}"] if len(taken) < 2 else False
    )
