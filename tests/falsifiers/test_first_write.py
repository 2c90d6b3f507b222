"""G11: a signal settles once; resolve, reject and timeout have one winner, the same for every reader and replay."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from datetime import timedelta
from random import Random

import pytest

from services.orchestrator.engine import (
    Operations,
    SettledSignal,
    Settlement,
    SignalRejected,
    SignalTimeout,
    WorkflowContext,
    workflow,
)
from tests.falsifiers.trying import Trying
from tests.support.engine import THREE, THREE_SUSPENDING, Cluster
from tests.support.figures import dice, figure, trials
from tests.support.world import act_on

TIMEOUT_S = 900.0
CANDIDATES = ("yes", "no", "reject")
NAME = "decision"


@workflow("decided", version=1, promises={NAME: str})
async def decided(ctx: WorkflowContext, kind: str) -> str:
    """Wait for an awakeable or for a promise, and tell what became of it."""
    if kind == "awakeable":
        handle = ctx.awakeable(str)
        await ctx.run(act_on, "request", handle.id)
    else:
        handle = ctx.promise(NAME)
    try:
        outcome = await handle.result(timeout=timedelta(seconds=TIMEOUT_S))
    except SignalRejected:
        outcome = "reject"
    except SignalTimeout:
        outcome = "timeout"
    await ctx.run(act_on, "tell", outcome)
    return outcome


class Race:
    """One signal, and everybody who wants to settle it."""

    def __init__(self, cluster: Cluster, saga_id: str, kind: str) -> None:
        self.cluster = cluster
        self.saga_id = saga_id
        self.kind = kind

    def propose(self, candidate: str) -> Callable[[Operations], Awaitable[Settlement]]:
        """Give what one of them does."""
        if self.kind == "awakeable":
            awakeable_id = str(self.cluster.world.called("request", self.saga_id)[0].args[0])
            if candidate == "reject":
                return lambda ops: ops.reject_awakeable(awakeable_id, "declined", "no money", by="processor")
            return lambda ops: ops.resolve_awakeable(awakeable_id, candidate, by="processor")
        if candidate == "reject":
            return lambda ops: ops.reject_promise(self.saga_id, NAME, "declined", "no money", by="ann")
        return lambda ops: ops.resolve_promise(self.saga_id, NAME, candidate, by="ann")

    async def run(self, candidates: list[str], rolls: Random) -> list[Settlement]:
        """Let all propose at once, at any replica, while the replicas work."""

        async def one(candidate: str, ticks: int, operations: Operations) -> Settlement:
            for _ in range(ticks):
                await asyncio.sleep(0)
            return await self.propose(candidate)(operations)

        proposals = [
            one(candidate, rolls.choice((0, 1, 4, 16, 64)), rolls.choice(self.cluster.replicas).engine.operations)
            for candidate in candidates
        ]
        async with self.cluster.running():
            return list(await asyncio.gather(*proposals))


@pytest.mark.scenario("G11", "W10", "W11")
async def test_whoever_settles_first_has_settled(trying: Trying) -> None:
    """Values, a rejection and the timeout race at several replicas: one winner for every answer, reader and replay."""
    rolls = dice("first write")
    count = trials(24, 2_200)
    winners: Counter[str] = Counter()
    violations: list[str] = []
    async for number, cluster in trying.times(count, decided, configurations=(THREE, THREE_SUSPENDING)):
        winner, *wrong = await _settled(cluster, f"race-{number}", rolls)
        winners[winner] += 1
        violations += wrong
    what = "races of two values, a rejection and the timeout for one signal, at three replicas, read back and replayed"
    measured = ", ".join(f"{winner} {winners[winner]}" for winner in sorted(winners))
    figure("G11", trials=count, violations=len(violations), what=what, measured=measured)
    assert not violations
    assert len(winners) > 1


async def _settled(cluster: Cluster, key: str, rolls: Random) -> list[str]:
    kind = rolls.choice(("awakeable", "promise"))
    saga_id = await cluster.start(decided, kind, key=key)
    await cluster.settle()
    race = Race(cluster, saga_id, kind)
    timeout = rolls.random() < 0.4
    if timeout:
        cluster.clock.advance(TIMEOUT_S)
    candidates = [rolls.choice(CANDIDATES) for _ in range(rolls.randrange(2, 6))]
    answers = await race.run(candidates, rolls)
    if rolls.random() < 0.5:  # replay what has not ended, elsewhere
        await cluster.restart()
    view = await cluster.finish(saga_id)
    winner = str(view.output)
    told = [str(call.args[0]) for call in cluster.world.called("tell", saga_id)]
    wrong = [] if set(told) == {winner} else [f"{key}: the code was told {told}, the saga says {winner}"]
    wrong += _contradictions(list(zip(candidates, answers, strict=True)), winner)
    for replica in cluster.replicas[:2]:
        again = [(candidate, await race.propose(candidate)(replica.engine.operations)) for candidate in CANDIDATES]
        wrong += _contradictions(again, winner, accepted=0)
        if kind == "promise":
            stands = (await replica.engine.operations.promise(saga_id, NAME)).standing
            if _named(stands) != winner:
                wrong.append(f"{key}: {replica.name} reads {stands}")
    return [winner, *wrong]


def _contradictions(answers: list[tuple[str, Settlement]], winner: str, accepted: int | None = None) -> list[str]:
    """Hold what everybody was told against the one winner."""
    took = [candidate for candidate, answer in answers if answer.outcome == "accepted"]
    most = (0 if winner == "timeout" else 1) if accepted is None else accepted
    wrong = [] if took == [winner][:most] else [f"{winner} won, accepted was {took}"]
    for candidate, answer in answers:
        allowed = {"late"} if winner == "timeout" else {"accepted", "repeat"} if candidate == winner else {"conflict"}
        if answer.outcome not in allowed or (answer.standing is not None and _named(answer.standing) != winner):
            wrong.append(f"{winner} won, {candidate} was told {answer.outcome} with {answer.standing}")
    return wrong


def _named(stands: SettledSignal | None) -> str:
    """Name the candidate that stands."""
    return "nothing" if stands is None else {"rejected": "reject", "expired": "timeout"}.get(stands.kind, stands.value)
