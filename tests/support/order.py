"""An order-like workflow for the crash tests: calls, a callback, a decision, a delivery window, messages, undos."""

from dataclasses import dataclass
from datetime import timedelta

from services.chassis.messaging.outbox import Message
from services.orchestrator.engine import (
    RetryPolicy,
    SagaView,
    StartRequest,
    TerminalError,
    Transition,
    WorkflowContext,
    workflow,
)
from tests.support.engine import AT_REST, Cluster, messages_of
from tests.support.events import AtPoint, Crash
from tests.support.world import act, act_on, put_back, undo, undo_on

STEP = RetryPolicy(max_attempts=6, initial_s=1.0, factor=1.0, max_s=1.0, jitter=0.0)
"""More attempts than the tests crash."""


def announced(transition: Transition) -> list[Message]:
    """Tell the end."""
    return [told(transition.key, transition.after)]


def told(key: str, what: str) -> Message:
    """A message about this saga, in order with its others."""
    return Message(service="session", path="/events", key=key, body="{}", name=f"told.{what}")


@workflow(
    "small-order",
    version=1,
    promises={"approval": bool},
    undos=[undo, undo_on, put_back],
    on_transition=announced,
)
async def small_order(ctx: WorkflowContext, failing: str) -> str:
    """Reserve, be paid, be approved, ship, deliver; `failing` says where it goes wrong, if anywhere."""
    await ctx.run(act, "reserve", compensate=undo, retry=STEP)
    paid = ctx.awakeable(str)
    await ctx.run(act_on, "charge", paid.id, compensate=undo_on, retry=STEP)
    ctx.add_compensation(put_back, "coupon")
    transaction = await paid.result(timeout=timedelta(minutes=15))
    ctx.send(told(ctx.key, "paid"))
    if not await ctx.promise("approval").result(timeout=timedelta(days=3)):
        raise TerminalError("rejected", "it was not approved")
    one, other = await ctx.gather(
        ctx.run(act_on, "label", transaction, compensate=undo_on, retry=STEP),
        ctx.run(act, "pack", compensate=undo, retry=STEP),
    )
    await ctx.run(act, "ship", compensate=undo, retry=STEP)
    if failing == "after-ship":
        raise TerminalError("lost", "the parcel is lost")
    ctx.no_return()
    ctx.send(told(ctx.key, "shipped"))
    await ctx.sleep(timedelta(seconds=5))
    return f"{one.split('#')[0]} {other.split('#')[0]}"


FORWARD = ["reserve", "charge", "label", "pack", "ship"]


@dataclass
class OrderRun:
    """One saga of `small_order`, driven to its end by the callbacks of the outside world."""

    cluster: Cluster
    key: str
    failing: str = ""
    approve: bool = True
    crashes: int = 0
    saga_id: str = ""

    async def drive(self, *faults: AtPoint) -> SagaView:
        """Run it to its end, with these faults on the way."""

        def hear(event: str, facts: tuple[object, ...]) -> None:
            try:
                for fault in faults:
                    fault(event, facts)
            except Crash:
                self.crashes += 1
                raise

        cluster = self.cluster
        cluster.on_event = hear
        request = StartRequest(workflow=small_order.name, key=self.key, input=self.failing)
        try:
            self.saga_id = (await cluster.ask(lambda operations: operations.start(request))).saga_id
            for _ in range(60):
                await cluster.settle()
                view = await cluster.view(self.saga_id)
                if view.status in AT_REST:
                    return view
                await self._call_back(view)
                await cluster.advance(1)
        finally:
            cluster.on_event = None
        raise AssertionError(f"not at rest: {view.explanation}")

    async def _call_back(self, view: SagaView) -> None:
        """Answer what it waits for, as the processor and the administrator do: until they get an answer themselves."""
        cluster, saga_id, approve = self.cluster, self.saga_id, self.approve
        for wait in view.waiting_on:
            if wait.kind == "awakeable":
                await cluster.resolve(str(wait.id), "txn_1")
            elif wait.kind == "promise":
                await cluster.ask(lambda ops: ops.resolve_promise(saga_id, "approval", approve, by="ann"))

    async def check(self, view: SagaView) -> None:
        """Hold the outcome against the ledger: each effect once, undone in reverse or not at all, messages in order."""
        world = self.cluster.world
        happened = world.happened(self.saga_id)
        forward = [name for name in happened if not name.startswith("undo")]
        backward = [name for name in happened if name.startswith("undo")]
        assert len(set(happened)) == len(happened), happened
        for name in happened:
            calls = world.called(name, self.saga_id)
            assert len({call.key for call in calls}) == 1, f"{name} was called with several keys"
            assert len(calls) <= 1 + self.crashes, f"{name} was called {len(calls)} times"
        assert len(world.calls_of(self.saga_id)) <= len(happened) + 2 * self.crashes
        messages = await messages_of(self.cluster, self.key)
        if not self.approve:
            assert (view.status, view.error and view.error.code) == ("failed", "rejected")
            assert (forward, backward) == (["reserve", "charge"], ["undo coupon", "undo charge", "undo reserve"])
            assert messages == ["told.paid", "told.failed"]
        elif self.failing:
            assert (view.status, view.error and view.error.code) == ("failed", "lost")
            assert sorted(forward) == sorted(FORWARD)
            assert backward == [f"undo {name}" for name in ("ship", "pack", "label", "coupon", "charge", "reserve")]
            assert messages == ["told.paid", "told.failed"]
        else:
            assert (view.status, view.output) == ("completed", "label pack")
            assert (sorted(forward), backward) == (sorted(FORWARD), [])
            assert messages == ["told.paid", "told.shipped", "told.completed"]
