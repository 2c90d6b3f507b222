"""Random items under a limit, in whatever order they finish and wherever replicas die: one outcome, and none twice."""

import asyncio
import itertools
import os
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.orchestrator.engine import Step, TerminalError, WorkflowContext, workflow
from tests.support.engine import CONFIGURATIONS, Cluster, Configuration
from tests.support.events import AtPoint
from tests.support.world import STEADY, Clients, World, answer_lost, refused, unreachable

Item = dict[str, Any]

KEYS = itertools.count()
EXAMPLES = int(os.environ.get("PROGRAMS") or "20")
"""Maps per configuration."""
FAILING = frozenset({"raises", "refused", "late"})
TAKING_EFFECT = frozenset({"step", "flaky", "lost", "slow"})


def items() -> st.SearchStrategy[list[Item]]:
    """Items that take their time or none, leave something in the log or nothing, and some that fail."""
    kind = st.sampled_from(["step", *sorted(TAKING_EFFECT), "nothing", *sorted(FAILING)])
    leaf = st.fixed_dictionaries({"kind": kind, "turns": st.integers(0, 9)})
    inner = st.fixed_dictionaries(
        {"kind": st.just("map"), "turns": st.just(0), "items": st.lists(leaf, min_size=1, max_size=3)}
    )
    return st.lists(st.one_of(leaf, leaf, inner), min_size=1, max_size=7).map(_named)


def _named(some: list[Item], prefix: str = "") -> list[Item]:
    return [
        {**item, "name": f"{prefix}{number}", "items": _named(item.get("items", []), f"{prefix}{number}-")}
        for number, item in enumerate(some)
    ]


async def work(step: Step[Clients], name: str, turns: int) -> str:
    """Do something outside after so many turns of the event loop, and note when it begins and ends."""
    notes = step.clients.world.notes
    notes.append(f"+{name}")
    try:
        for _ in range(turns):
            await asyncio.sleep(0)
        return await step.clients.world.ask(step.clients, step, name, ())
    finally:
        notes.append(f"-{name}")


@workflow("bounded", version=1)
async def bounded(ctx: WorkflowContext, wanted: dict[str, Any]) -> list[str]:
    """Do the items, so many at a time; then tell and sleep, so that all of it is replayed behind its end."""

    async def each(item: Item) -> str:
        name, kind = item["name"], item["kind"]
        if kind == "map":
            return ",".join(await ctx.map_concurrent(each, item["items"], limit=1))
        if kind in {"slow", "late"}:
            await ctx.sleep(timedelta(seconds=item["turns"]))
        if kind in {"raises", "late"}:
            raise TerminalError(f"failed-{name}")
        if kind != "nothing":
            await ctx.run(work, name, item["turns"], name=name, retry=STEADY)
        return str(name)

    try:
        values = list(await ctx.map_concurrent(each, wanted["items"], limit=wanted["limit"]))
    except TerminalError as error:
        values = [error.code]
    await ctx.run(work, "told", 0)
    await ctx.sleep(timedelta(seconds=5))
    return values


def script(world: World, some: list[Item]) -> None:
    """Let the outside world be as unkind as the items say."""
    for item in some:
        script(world, item["items"])
        if item["kind"] == "flaky":
            world.script(item["name"], unreachable())
        elif item["kind"] == "lost":
            world.script(item["name"], answer_lost())
        elif item["kind"] == "refused":
            world.script(item["name"], refused(f"failed-{item['name']}"))


def first_failing(some: list[Item]) -> str | None:
    """Name the first item that fails, in their order: whatever ends first, it is this one whose error comes out."""
    for item in some:
        if item["kind"] in FAILING:
            return str(item["name"])
        if (inner := first_failing(item["items"])) is not None:
            return inner
    return None


def value_of(item: Item) -> str:
    """Return what an item gives that does not fail."""
    return ",".join(map(value_of, item["items"])) if item["kind"] == "map" else str(item["name"])


def leaves(some: list[Item]) -> Iterator[Item]:
    """Give the items that are no maps."""
    for item in some:
        yield from leaves(item["items"]) if item["kind"] == "map" else (item,)


def most_at_once(notes: list[str]) -> int:
    """Count how many steps were under way at once, at most."""
    return max(itertools.accumulate(1 if note.startswith("+") else -1 for note in notes))


@pytest.mark.usefixtures("orchestrator_database")
@pytest.mark.scenario("S16", "S17", "RC3", "G3", "G4")
@pytest.mark.parametrize("configuration", CONFIGURATIONS, ids=lambda one: one.name)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(some=items(), limit=st.integers(1, 4), crashes=st.lists(st.integers(0, 120), max_size=3))
async def test_maps_come_to_what_their_items_say(
    orchestrator_url: str, configuration: Configuration, some: list[Item], limit: int, crashes: list[int]
) -> None:
    """Whatever ends first: all values, or the first item's error by their order; no step twice, no more at once."""
    cluster = Cluster.of(orchestrator_url, configuration, bounded)
    try:
        await _hold(cluster, some, limit, crashes)
    finally:
        await cluster.close()


async def _hold(cluster: Cluster, some: list[Item], limit: int, crashes: list[int]) -> None:
    script(cluster.world, some)
    saga_id = await cluster.start(bounded, {"items": some, "limit": limit}, key=f"bounded-{next(KEYS)}")
    faults = [AtPoint(point) for point in crashes]

    def hear(event: str, facts: tuple[object, ...]) -> None:
        for fault in faults:
            fault(event, facts)

    cluster.on_event = hear
    view = await cluster.finish(saga_id)
    failing = first_failing(some)
    expected = [value_of(item) for item in some] if failing is None else [f"failed-{failing}"]
    assert (view.status, view.output) == ("completed", expected), view.explanation
    assert most_at_once(cluster.world.notes) <= limit
    happened = cluster.world.happened(saga_id)
    assert len(happened) == len(set(happened))
    due = [item["name"] for item in leaves(some) if item["kind"] in TAKING_EFFECT]
    assert set(happened) <= {*due, "told"}
    if failing is None:
        assert set(happened) == {*due, "told"}
    keys = {(call.name, call.key) for call in cluster.world.calls_of(saga_id)}
    assert len(keys) == len({name for name, _ in keys})
