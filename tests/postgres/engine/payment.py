"""A workflow that waits for a payment: what the signal scenarios run."""

from dataclasses import dataclass
from datetime import timedelta

from services.orchestrator.engine import SignalRejected, SignalTimeout, StartRequest, WorkflowContext, workflow
from tests.support.engine import Cluster
from tests.support.world import act, act_on, undo_on

TIMEOUT_S = 900.0


@dataclass(frozen=True, slots=True)
class Paid:
    """What a payment callback says."""

    payment_id: str
    amount_minor: int


@workflow("payment", version=1, awakeables=[Paid], undos=[undo_on])
async def payment(ctx: WorkflowContext, amount_minor: int) -> str:
    """Ask for a payment, wait for it at most fifteen minutes, then ship."""
    awakeable = ctx.awakeable(Paid, expects={"amount_minor": amount_minor, "currency": "USD"})
    await ctx.run(act_on, "request", awakeable.id, compensate=undo_on)
    paid = await awakeable.result(timeout=timedelta(seconds=TIMEOUT_S))
    await ctx.run(act, "ship")
    return paid.payment_id


@workflow("tolerant-payment", version=1, awakeables=[Paid])
async def tolerant(ctx: WorkflowContext, _: None) -> str:
    """Ask for a payment and answer with what became of it."""
    awakeable = ctx.awakeable(Paid)
    await ctx.run(act_on, "request", awakeable.id)
    try:
        outcome = f"paid {(await awakeable.result(timeout=timedelta(seconds=TIMEOUT_S))).payment_id}"
    except SignalRejected as error:
        outcome = f"rejected {error.code} {error}"
    except SignalTimeout as error:
        outcome = error.code
    await ctx.run(act_on, "tell", outcome)
    return outcome


@workflow("two-payments", version=1, awakeables=[Paid])
async def two(ctx: WorkflowContext, _: None) -> list[str]:
    """Wait for the second payment first, then for the first."""
    first, second = ctx.awakeable(Paid), ctx.awakeable(Paid)
    await ctx.run(act_on, "request", f"{first.id} {second.id}")
    later = await second.result()
    await ctx.run(act, "between")
    earlier = await first.result()
    return [earlier.payment_id, later.payment_id]


@workflow("refund", version=1)
async def refund(ctx: WorkflowContext, payment_id: str) -> str:
    """Give late money back."""
    return await ctx.run(act_on, "refund", payment_id)


PAYMENT_WORKFLOWS = (payment, tolerant, two, refund)


def asked(cluster: Cluster, saga_id: str | None = None) -> str:
    """The awakeable id that the target was given."""
    return str(cluster.world.called("request", saga_id)[0].args[0])


def money(payment_id: str = "pay_1", amount_minor: int = 500) -> dict[str, object]:
    """A callback's value."""
    return {"payment_id": payment_id, "amount_minor": amount_minor}


def late(payment_id: str = "pay_1") -> StartRequest:
    """What owns money that settles nothing."""
    return StartRequest(workflow=refund.name, key=payment_id, input=payment_id)
