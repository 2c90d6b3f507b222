"""G7, G11, G16: what concurrent clients see of sagas, signals and baskets, they could have seen one after another."""

import asyncio
from collections.abc import Awaitable, Callable, Hashable
from random import Random
from typing import Any, TypeVar

import httpx
import pytest

from services.chassis.ids import derived_uuid
from services.chassis.postgres.database import Database
from services.orchestrator.engine import (
    CannotCancel,
    Operations,
    PromiseView,
    SagaConflict,
    StartRequest,
    UnknownSaga,
    WorkflowContext,
    workflow,
)
from tests.falsifiers.observed import EMPTY, NO_SAGA, basket, promise, saga
from tests.falsifiers.trying import Trying
from tests.postgres.session.shop import Shop, opened
from tests.support.clock import ManualClock
from tests.support.engine import LEASE_S, THREE, Cluster, Configuration
from tests.support.events import AtPoint
from tests.support.figures import dice, figure, trials
from tests.support.histories import History, Model
from tests.support.world import HOUR, act, undo

T = TypeVar("T")

CLIENTS = 5
DOORS = Configuration("doors", replicas=2, pool_size=8)
"""Replicas that only answer; those that work beside them may die."""
CUT_OFF = 0.15


class Cut(Exception):
    """A client has gone before its answer came."""


@workflow("observed", version=1, undos=[undo])
async def observed(ctx: WorkflowContext, quick: bool) -> str:
    """Two steps and the end, or an hour's sleep between them."""
    await ctx.run(act, "a", compensate=undo)
    if not quick:
        await ctx.sleep(HOUR)
    await ctx.run(act, "b", compensate=undo)
    return "done"


@workflow("promised", version=1, promises={"go": str})
async def promised(ctx: WorkflowContext, _: None) -> str:
    """Wait for an answer, and stay for a while."""
    answer: str = await ctx.promise("go").result()
    await ctx.sleep(HOUR)
    return answer


class Clients:
    """Several at once, each doing one thing after another; now and then one goes away before its answer."""

    def __init__(self, rolls: Random, history: History, of: str) -> None:
        self.rolls = rolls
        self.history = history
        self.of = of

    async def do(
        self, who: str, name: str, argument: Any, call: Callable[[], Awaitable[T]], seen: Callable[[T], Hashable]
    ) -> T | None:
        """Do one thing after a while, and note it."""
        await self.wait()
        return await self.history.record(self.of, who, name, argument, lambda: self._cut(call), seen, (Cut,))

    async def wait(self) -> None:
        """Let others go on."""
        for _ in range(self.rolls.choice((0, 4, 32, 128))):
            await asyncio.sleep(0)

    async def _cut(self, call: Callable[[], Awaitable[T]]) -> T:
        task = asyncio.ensure_future(call())
        if self.rolls.random() < CUT_OFF:
            await self.wait()
            task.cancel()
        await asyncio.wait({task})
        if task.cancelled():
            raise Cut
        return task.result()


def _judge(history: History, model: Model, initial: Hashable, guarantee: str, what: str) -> None:
    """Print the figure of a history, and show the first object that nobody can explain."""
    wrong = history.violations(model, initial)
    operations = sum(map(len, history.operations.values()))
    unknown = sum(one.end == float("inf") for some in history.operations.values() for one in some)
    figure(
        guarantee,
        trials=len(history.operations),
        violations=len(wrong),
        what=f"histories of {CLIENTS} clients at once, linearizable: {what}",
        measured=f"{operations} operations, {unknown} cut off",
    )
    assert not wrong, next(iter(wrong.values()))


# sagas and signals


@pytest.mark.scenario("G7", "G16")
async def test_sagas_are_linearizable(trying: Trying) -> None:
    """Starts, cancels and looks at two replicas, while others work and die, are explained by one order of them."""
    rolls, history = dice("histories of sagas"), History()
    async for number, cluster in trying.times(trials(6, 500), observed, promised, configurations=(THREE,)):
        await _raced(trying, cluster, Clients(rolls, history, f"saga-{number}"), _saga_client)
    _judge(history, saga, NO_SAGA, "G7", "starts, cancels and looks at sagas")


@pytest.mark.scenario("G11")
async def test_promises_are_linearizable(trying: Trying) -> None:
    """Values, rejections and looks at two replicas, while others work and die, are explained by one order of them."""
    rolls, history = dice("histories of promises"), History()
    async for number, cluster in trying.times(trials(6, 500), observed, promised, configurations=(THREE,)):
        await cluster.start(promised, key=f"promise-{number}")
        await _raced(trying, cluster, Clients(rolls, history, f"promise-{number}"), _promise_client)
    _judge(history, promise, "open", "G11", "values, rejections and looks at promises")


async def _raced(
    trying: Trying,
    cluster: Cluster,
    clients: Clients,
    client: Callable[[Clients, str, list[Operations]], Awaitable[None]],
) -> None:
    """Let clients do what they do while replicas work, and one of them may die."""
    doors = trying.cluster(DOORS, observed, promised)
    operations = [replica.engine.operations for replica in doors.replicas]
    cluster.on_event = AtPoint(clients.rolls.randrange(120))

    async def work() -> None:
        for _ in range(6):
            await cluster.settle()
            await clients.wait()

    await asyncio.gather(work(), *(client(clients, f"client-{index}", operations) for index in range(CLIENTS)))
    cluster.on_event = None
    await cluster.replace_dead()
    cluster.clock.advance(LEASE_S + 1)
    await cluster.settle()
    await client(clients, "the last", operations)
    trying.clusters.remove(doors)
    while any(_in_use(replica.database) for replica in doors.replicas):
        await asyncio.sleep(0.001)  # what a client that went away had asked for is still being done
    await doors.close()


def _in_use(database: Database) -> bool:
    return database._pool._lent > 0


async def _saga_client(clients: Clients, who: str, doors: list[Operations]) -> None:
    for _ in range(clients.rolls.randint(2, 5)):
        what = clients.rolls.choice(("start", "get", "get", "cancel"))
        quick = clients.rolls.random() < 0.7
        operations = clients.rolls.choice(doors)
        await clients.do(
            who,
            what,
            str(quick),
            lambda: _at_saga(operations, clients.of, what, quick=quick),  # noqa: B023 - called at once
            str,
        )


async def _at_saga(operations: Operations, key: str, what: str, *, quick: bool) -> str:
    saga_id = str(derived_uuid("saga", observed.name, key))
    try:
        if what == "start":
            started = await operations.start(StartRequest(workflow=observed.name, key=key, input=quick))
            return "created" if started.created else "there"
        if what == "get":
            return (await operations.get(saga_id)).status
        await operations.cancel(saga_id, by="ann", reason="changed my mind")
    except UnknownSaga:
        return "unknown"
    except SagaConflict:
        return "conflict"
    except CannotCancel as error:
        return error.reason
    return "accepted"


async def _promise_client(clients: Clients, who: str, doors: list[Operations]) -> None:
    for _ in range(clients.rolls.randint(2, 5)):
        what = clients.rolls.choice(("read", "yes", "no", "rejected"))
        operations = clients.rolls.choice(doors)
        name = "read" if what == "read" else "settle"
        await clients.do(
            who,
            name,
            what,
            lambda: _at_promise(operations, clients.of, what),  # noqa: B023 - called at once
            str,
        )


async def _at_promise(operations: Operations, key: str, what: str) -> str:
    saga_id = str(derived_uuid("saga", promised.name, key))
    if what == "read":
        return _stands(await operations.promise(saga_id, "go"))
    if what == "rejected":
        return (await operations.reject_promise(saga_id, "go", "declined", "no", by="ann")).outcome
    return (await operations.resolve_promise(saga_id, "go", what, by="ann")).outcome


def _stands(view: PromiseView) -> str:
    return str(view.standing.value) if view.standing is not None and view.status == "resolved" else view.status


# baskets


@pytest.mark.scenario("G16")
async def test_baskets_are_linearizable(session_url: str, session_database: Database, clock: ManualClock) -> None:
    """Additions, removals, looks, checkouts and payments of one user by five clients are explained by one order."""
    del session_database  # emptied afterwards
    rolls, history = dice("histories of baskets"), History()
    async with opened(session_url, clock, user_requests_per_s=0, database_pool_size=20) as shop:
        for sku in ("book", "mug"):
            assert (await shop.stock(sku, 1_000_000)).status_code == 200
        for number in range(trials(6, 500)):
            clients = Clients(rolls, history, f"user-{number}")
            customers = [_customer(clients, f"client-{index}", shop) for index in range(CLIENTS - 1)]
            await asyncio.gather(_buyer(clients, shop), *customers)
            await _customer(clients, "the last", shop)
    _judge(history, basket, EMPTY, "G16", "additions, removals, looks, checkouts and payments of baskets")


def _lines(items: Any) -> tuple[tuple[str, int], ...]:
    return tuple(sorted((item["sku"], item["quantity"]) for item in items))


def _cart(answer: httpx.Response) -> Hashable:
    cart = answer.json()
    return cart["version"], _lines(cart["items"])


async def _customer(clients: Clients, who: str, shop: Shop) -> None:
    user = clients.of
    for _ in range(clients.rolls.randint(2, 4)):
        sku, quantity = clients.rolls.choice(("book", "mug")), clients.rolls.randint(1, 3)
        calls: dict[str, tuple[Any, Callable[[], Awaitable[httpx.Response]]]] = {
            "add": ((sku, quantity), lambda: shop.add(user, sku, quantity)),  # noqa: B023 - called at once
            "remove": (sku, lambda: _call(shop, user, "DELETE", f"/cart/items/{sku}")),  # noqa: B023 - called at once
            "get": (None, lambda: _call(shop, user, "GET", "/cart")),
        }
        name = clients.rolls.choice(("add", "add", "remove", "get"))
        argument, call = calls[name]
        await clients.do(who, name, argument, call, _cart)


async def _call(shop: Shop, user: str, method: str, path: str) -> httpx.Response:
    return await shop.client.request(method, f"/users/{user}{path}", headers=shop.bearer(user))


async def _buyer(clients: Clients, shop: Shop) -> None:
    """Order what is in the basket, and pay for it; after an order that nobody knows of there is no other."""
    user = clients.of
    for number in range(3):
        order_id = f"{user}-order-{number}"
        place, pay = _order(shop, user, order_id)
        frozen = await clients.do("buyer", "checkout", order_id, place, lambda told: told)
        if frozen is None:
            return
        if isinstance(frozen, tuple):
            await shop.reserve(order_id, dict(frozen))
            if await clients.do("buyer", "paid", order_id, pay, _paid) is None:
                return


def _order(
    shop: Shop, user: str, order_id: str
) -> tuple[Callable[[], Awaitable[Hashable]], Callable[[], Awaitable[httpx.Response]]]:
    """Give the two things that are done with one order."""
    return lambda: _check_out(shop, user, order_id), lambda: shop.executed(order_id)


async def _check_out(shop: Shop, user: str, order_id: str) -> Hashable:
    answer = await shop.check_out(user, key=order_id, order_id=order_id, payment_token="tok_ok")
    if answer.status_code == 202:
        return _lines((await shop.order(user, order_id))["items"])
    return {"checkout-in-progress": "in progress", "cart-empty": "empty"}[answer.json()["code"]]


def _paid(answer: httpx.Response) -> Hashable:
    return "paid" if answer.status_code == 200 else answer.text
