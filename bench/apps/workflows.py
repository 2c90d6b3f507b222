"""Our workflows of the workloads: ten trivial steps, and an order that waits for a payment and an approval."""

from dataclasses import dataclass
from datetime import timedelta
from typing import Any

from bench.steplog import StepLog
from services.chassis.outbound.http import ServiceClient
from services.orchestrator.engine import Step, WorkflowContext, workflow

STEPS = 10
SETTLING = timedelta(milliseconds=50)

Json = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Clients:
    """What the steps use: the step log, and the shipping stub through the client of our services."""

    log: StepLog
    shipping: ServiceClient


async def tiny(step: Step[Clients], number: int) -> Json:
    """Give a small result; nothing is called."""
    return {"i": number, "ok": step.attempt > 0}


@workflow("ten-steps")
async def ten_steps(ctx: WorkflowContext, start: int) -> int:
    """W1: add up the results of ten steps."""
    total = start
    for number in range(STEPS):
        total += (await ctx.run(tiny, number))["i"]
    return total


async def reserve(step: Step[Clients], order: str) -> Json:
    step.clients.log.add(order, "reserve", step.key)
    return {"reservation": f"R-{order}"}


async def undo_reserve(step: Step[Clients], reservation: Json | None, order: str) -> None:
    del reservation
    step.clients.log.add(order, "undo_reserve", step.key)


async def undo_payment(step: Step[Clients], order: str) -> None:
    step.clients.log.add(order, "undo_payment", step.key)


async def undo_approval(step: Step[Clients], order: str) -> None:
    step.clients.log.add(order, "undo_approval", step.key)


async def ship(step: Step[Clients], order: str) -> Json:
    """Hand over to the shipping stub; its 422 is a definite refusal, so that nothing is to be undone here."""
    step.clients.log.add(order, "ship", step.key)
    answer = await step.clients.shipping.request(
        "POST", f"/ship/{order}", body={"order": order}, key=step.key, deadline=step.deadline
    )
    shipped: Json = answer.data
    return shipped


@workflow(
    "bench-order",
    promises={"payment": Json, "approval": Json},
    undos=[undo_reserve, undo_payment, undo_approval],
)
async def order(ctx: WorkflowContext, order_id: str) -> Json:
    """W2, W3: reserve, wait for payment and approval, ship, sleep 50 ms; a refused shipment unwinds all three.

    Payment and approval are declared promises, which are settled by saga and name, also before they are waited for.
    """
    reserved = await ctx.run(reserve, order_id, compensate=undo_reserve)
    payment = await ctx.promise("payment").result()
    ctx.add_compensation(undo_payment, order_id)
    approval = await ctx.promise("approval").result()
    ctx.add_compensation(undo_approval, order_id)
    shipped = await ctx.run(ship, order_id)
    await ctx.sleep(SETTLING)
    return {"order": order_id, "pay": payment, "appr": approval, **reserved, **shipped}
