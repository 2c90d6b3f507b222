"""Random programs that are changed behind version markers while they run: who has passed a place keeps the old way."""

import itertools
import os
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from services.orchestrator.engine import StartRequest, WorkflowContext, WorkflowDefinition, workflow
from tests.support.engine import ENDED, ONE, SUSPENDING, THREE_SUSPENDING, Cluster, Configuration
from tests.support.events import AtPoint
from tests.support.world import STEADY, act, unreachable

Block = list[dict[str, Any]]
Path = tuple[int, ...]

KEYS = itertools.count()
EXAMPLES = int(os.environ.get("PROGRAMS") or "25")
"""Programs per configuration."""


def blocks() -> st.SearchStrategy[Block]:
    """Blocks of steps, sleeps and forks of blocks; before some commands, and at some ends, a marker and what is new."""

    def command(kinds: st.SearchStrategy[str], inner: st.SearchStrategy[list[Block]]) -> st.SearchStrategy[Any]:
        return st.fixed_dictionaries({"kind": kinds, "marked": st.booleans(), "blocks": inner})

    def block(some: st.SearchStrategy[Any], most: int) -> st.SearchStrategy[Block]:
        end = command(st.just("end"), st.just([]))
        return st.builds(lambda some, end: [*some, end], st.lists(some, min_size=1, max_size=most), end)

    leaf = command(st.sampled_from(["step", "step", "flaky", "sleep"]), st.just([]))
    forks = st.sampled_from(["gather", "map", "race"])
    return st.recursive(
        block(leaf, 3),
        lambda inner: block(st.one_of(leaf, command(forks, st.lists(inner, min_size=1, max_size=3))), 4),
        max_leaves=8,
    )


def code_of(*, marked: bool) -> WorkflowDefinition:
    """Return the workflow that does what its input says, before or after the change."""

    async def changing(ctx: WorkflowContext, program: list[Any]) -> str:
        """Do the program."""
        await run(ctx, program, (), marked)
        return "ended"

    return workflow("changing", version=1)(changing)


async def run(ctx: WorkflowContext, block: Block, path: Path, marked: bool) -> None:
    for index, command in enumerate(block):
        here = (*path, index)
        name = named(here)
        if marked and command["marked"] and ctx.patched(f"before {name}"):
            await ctx.run(act, f"new {name}", retry=STEADY)
        if command["kind"] == "sleep":
            await ctx.sleep(timedelta(seconds=2))
        elif command["kind"] in {"step", "flaky"}:
            await ctx.run(act, name, name=name, retry=STEADY)
        elif command["kind"] != "end":
            await fork(ctx, command, here, marked)


async def fork(ctx: WorkflowContext, command: dict[str, Any], here: Path, marked: bool) -> None:
    numbered = list(enumerate(command["blocks"]))
    if command["kind"] == "race":
        await ctx.select(run(ctx, command["blocks"][0], (*here, 0), marked), ctx.sleep(timedelta(days=9)))
    elif command["kind"] == "gather":
        await ctx.gather(*(run(ctx, block, (*here, number), marked) for number, block in numbered))
    else:
        await ctx.map_concurrent(lambda one: run(ctx, one[1], (*here, one[0]), marked), numbered, limit=2)


def named(path: Path) -> str:
    """Name what stands at a path."""
    return "-".join(map(str, path))


def commands(block: Block, path: Path = ()) -> Iterator[tuple[Path, dict[str, Any]]]:
    """Give all commands that will run, with their paths: the index in a block, a branch, the index in its block."""
    for index, command in enumerate(block):
        here = (*path, index)
        yield here, command
        taken = command["blocks"][:1] if command["kind"] == "race" else command["blocks"]
        for number, inner in enumerate(taken):
            yield from commands(inner, (*here, number))


def path_of(position: str) -> Path:
    """Return the path of what the unchanged code recorded at a position: it counts from 1, and branches from 0."""
    return tuple(int(part) - (place % 2 == 0) for place, part in enumerate(position.split(".")))


def has_passed(place: Path, logged: Path) -> bool:
    """Say whether something logged lies behind a place, in its block or one around it, or is that its race was won."""
    for depth in range(0, min(len(place), len(logged)), 2):
        if place[depth] != logged[depth]:
            return logged[depth] > place[depth]
        if place[depth + 1 : depth + 2] != logged[depth + 1 : depth + 2]:
            return len(place) <= depth + 1 or len(logged) <= depth + 1
    return True


@pytest.mark.usefixtures("orchestrator_database")
@pytest.mark.scenario("V9", "RC3", "G18")
@pytest.mark.parametrize("configuration", [ONE, SUSPENDING, THREE_SUSPENDING], ids=lambda one: one.name)
@settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(program=blocks(), moment=st.integers(0, 60), crashes=st.lists(st.integers(0, 80), max_size=2))
async def test_a_change_reaches_who_has_not_passed_it(
    orchestrator_url: str, configuration: Configuration, program: Block, moment: int, crashes: list[int]
) -> None:
    """Changed at any event, with more crashes later: what is new is done exactly where the log had not been."""
    cluster = Cluster.of(orchestrator_url, configuration, code_of(marked=False))
    try:
        await _hold(cluster, program, moment, crashes)
    finally:
        await cluster.close()


async def _hold(cluster: Cluster, program: Block, moment: int, crashes: list[int]) -> None:
    for path, command in commands(program):
        if command["kind"] == "flaky":
            cluster.world.script(named(path), unreachable())
    saga_id = await _changed_at(cluster, program, AtPoint(moment))
    if (await cluster.view(saga_id)).status in ENDED:
        return
    logged = [path_of(step.position) for step in await cluster.operations.steps(saga_id)]
    faults = [AtPoint(point) for point in crashes]
    cluster.on_event = _all(faults)
    view = await cluster.finish(saga_id)
    cluster.on_event = None
    assert (view.status, view.output) == ("completed", "ended"), view.explanation
    expected = [named(path) for path, command in commands(program) if command["kind"] in {"step", "flaky"}]
    expected += [
        f"new {named(path)}"
        for path, command in commands(program)
        if command["marked"] and not any(has_passed(path, one) for one in logged)
    ]
    assert sorted(cluster.world.happened(saga_id)) == sorted(expected)


async def _changed_at(cluster: Cluster, program: Block, change: AtPoint) -> str:
    """Start a saga under the unchanged code and change it when a replica dies at the event, or ten seconds later."""
    request = StartRequest(workflow="changing", key=f"changing-{next(KEYS)}", input=program)
    cluster.on_event = change
    saga_id = (await cluster.ask(lambda operations: operations.start(request))).saga_id
    for _ in range(10):
        if not change.reached:
            async with cluster.running():
                pass
            cluster.clock.advance(1)
    cluster.on_event = None
    cluster.definitions = [code_of(marked=True)]
    await cluster.restart()
    return str(saga_id)


def _all(faults: list[AtPoint]) -> Callable[[str, tuple[object, ...]], None]:
    def hear(event: str, facts: tuple[object, ...]) -> None:
        for fault in faults:
            fault(event, facts)

    return hear
