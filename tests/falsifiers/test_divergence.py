"""G17: code that asks for something else than the log holds stops before any effect, visibly."""

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from random import Random

import pytest

from services.orchestrator.engine import WorkflowContext, WorkflowDefinition, workflow
from tests.falsifiers.trying import Trying
from tests.support.engine import ONE, SUSPENDING, Cluster
from tests.support.figures import dice, figure, trials
from tests.support.world import HOUR, HOUR_S, act, act_on, undo

Change = Callable[[list["Line"], Random], list["Line"]]


@dataclass(frozen=True, slots=True)
class Line:
    """One primitive of a workflow: a step with its name and target, or a timer."""

    name: str
    kind: str = "step"
    target: str = "act"


def code_of(lines: list[Line]) -> WorkflowDefinition:
    """Write a workflow of these lines, an hour's sleep and a last step."""

    async def evolving(ctx: WorkflowContext, _: None) -> str:
        """Do one line after another."""
        for line in lines:
            if line.kind == "timer":
                await ctx.sleep(timedelta(seconds=1))
            elif line.target == "act":
                await ctx.run(
                    act, line.name, compensate=undo, name=line.name if line.name.startswith("named") else None
                )
            else:
                await ctx.run(act_on, line.name, "x")
        await ctx.sleep(HOUR)
        await ctx.run(act, "last", name="last")
        return "as it was"

    return workflow("evolving-lines", version=1, undos=[undo])(evolving)


def _rolled(rolls: Random) -> list[Line]:
    """Make a program up: named steps, one without a name of its own, timers that do not touch."""
    lines = [Line(f"named-{index}") for index in range(rolls.randint(3, 6))]
    lines.insert(rolls.randrange(len(lines)), Line("plain"))
    for place in sorted(rolls.sample(range(1, len(lines)), 2), reverse=True):
        lines.insert(place, Line("timer", kind="timer"))
    return lines


def _inserted(lines: list[Line], rolls: Random) -> list[Line]:
    place = rolls.randrange(len(lines) + 1)
    return [*lines[:place], Line("named-new"), *lines[place:]]


def _removed(lines: list[Line], rolls: Random) -> list[Line]:
    place = rolls.randrange(len(lines) - 1)
    return [*lines[:place], *lines[place + 1 :]]


def _renamed(lines: list[Line], rolls: Random) -> list[Line]:
    place = rolls.choice([index for index, line in enumerate(lines) if line.name.startswith("named")])
    return [*lines[:place], replace(lines[place], name="named-otherwise"), *lines[place + 1 :]]


def _reordered(lines: list[Line], rolls: Random) -> list[Line]:
    place = rolls.randrange(len(lines) - 1)
    return [*lines[:place], lines[place + 1], lines[place], *lines[place + 2 :]]


def _other_kind(lines: list[Line], rolls: Random) -> list[Line]:
    place = rolls.randrange(len(lines))
    kind = "timer" if lines[place].kind == "step" else "step"
    return [*lines[:place], replace(lines[place], kind=kind), *lines[place + 1 :]]


def _other_target(lines: list[Line], _: Random) -> list[Line]:
    place = lines.index(Line("plain"))
    return [*lines[:place], replace(lines[place], target="act_on"), *lines[place + 1 :]]


CHANGES: dict[str, Change] = {
    "insert": _inserted,
    "remove": _removed,
    "rename": _renamed,
    "reorder": _reordered,
    "other kind": _other_kind,
    "other target": _other_target,
}


@pytest.mark.scenario("G17", "V1", "V2", "V5")
async def test_every_kind_of_change_is_caught(trying: Trying) -> None:
    """Insert, remove, rename, reorder, other kind, other target: stuck before any call, completed by the right code."""
    rolls = dice("divergence")
    count = trials(1, 50) * len(CHANGES)
    violations: list[str] = []
    missed = set()
    async for number, cluster in trying.times(count, configurations=(SUSPENDING, ONE)):
        kind, change = list(CHANGES.items())[number % len(CHANGES)]
        lines = _rolled(rolls)
        wrong = await _diverged(cluster, f"{kind}-{number}", lines, change(lines, rolls))
        violations += wrong
        missed |= {kind} if wrong else set()
    what = "changes to the recorded part of a random workflow, all of six kinds, between its first run and its replay"
    measured = f"{len(CHANGES) - len(missed)} of {len(CHANGES)} kinds caught"
    figure("G17", trials=count, violations=len(violations), what=what, measured=measured)
    assert not violations


async def _diverged(cluster: Cluster, key: str, lines: list[Line], changed: list[Line]) -> list[str]:
    """Run the right code to its long sleep, the changed code after it, then the right code again."""
    right = code_of(lines)
    cluster.definitions = [right]
    await cluster.restart()
    saga_id = await cluster.start(right, key=key)
    for _ in range(4):
        await cluster.advance(1)
    calls = cluster.world.calls_of(saga_id)
    await cluster.restart([code_of(changed)])
    await cluster.advance(HOUR_S)
    view = await cluster.view(saga_id)
    wrong = []
    if view.status != "stuck" or "divergence" not in view.explanation or "position" not in view.explanation:
        wrong.append(f"{key}: {view.explanation} with {changed} instead of {lines}")
    if cluster.world.calls_of(saga_id) != calls:
        wrong.append(f"{key}: called {cluster.world.calls_of(saga_id)[len(calls) :]} with {changed} instead of {lines}")
    await cluster.restart()
    if view.status == "stuck":
        await cluster.operations.retry(saga_id, by="ann", reason="the right code is back")
    view = await cluster.finish(saga_id)
    names = [line.name for line in lines if line.kind == "step"]
    if (view.status, view.output) != ("completed", "as it was") or cluster.world.happened(saga_id) != [*names, "last"]:
        wrong.append(f"{key}: after the mend {view.explanation}: {cluster.world.happened(saga_id)}")
    return wrong
