"""Every route that honours an Idempotency-Key: different contents sent to it, and how many took effect."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from services.chassis.postgres.sql import Statement
from tests.support.system import ADDRESS, System

_STICK = Statement.of(
    "update sagas set run_state = 'stuck', due_at = null, attention = :attention, calls = :calls where id = :id"
)
_BLOCK = Statement.of(
    "insert into outbox_keys (key, last_seq, waiting_since, blocked_at) values ('order-9', 1, now(), now())"
)
_REFUSE = Statement.of(
    "insert into outbox (id, key, seq, service, method, path, name, body, settled_by, created_at, dead_at, dead_code,"
    " dead_detail) values ('msg-9', 'order-9', 1, 'nobody', 'POST', '/', 'thing', '{}', '{}', now(), now(), 'no', 'no')"
)
_ATTENTION = '{"reason": "divergence", "message": "the code has changed"}'
_CALL = '[["99", "reserve_stock", 1, "2026-11-24T10:00:00Z", true, null, null]]'
_ITEMS = [{"sku": "book", "quantity": 1}]


@dataclass(frozen=True, slots=True)
class Keyed:
    """What one key may come with, each of which could take effect by itself, and what tells how many did."""

    service: str
    path: str
    headers: Mapping[str, str]
    bodies: tuple[Any, ...]
    effects: Callable[[], Awaitable[int]]


async def stick(system: System, saga: str, calls: str | None = None) -> None:
    """Have a saga stuck, as if its code had changed."""
    values = {"id": saga.removeprefix("/sagas/"), "attention": _ATTENTION, "calls": calls}
    async with system.apps["orchestrator"].state.database.begin() as conn:
        await conn.fetch(_STICK, values)


async def saga_started(system: System) -> Keyed:
    """Two sagas of different keys."""
    bodies = tuple(
        {"workflow": "refund-payment", "key": key, "input": {"payment_id": key}, "delay_s": 3600}
        for key in ("pay_1", "pay_2")
    )

    async def effects() -> int:
        found = await system.call("GET", "orchestrator", "/sagas", headers=system.admin)
        return len(found.json()["items"])

    return Keyed("orchestrator", "/sagas", system.service(), bodies, effects)


def steered(what: str, *before: str, **body: Any) -> Callable[[System], Awaitable[Keyed]]:
    """Return an operation on an order that waits for its payment, for two reasons."""

    async def prepare(system: System) -> Keyed:
        await system.place("order-1", payment_token="tok_manual")
        await system.settle()
        saga = f"/sagas/{(await system.saga('order-1'))['saga_id']}"
        for earlier in before:
            if earlier == "stick":
                await stick(system, saga, _CALL if what == "skip" else None)
            else:
                given = await system.call(
                    "POST", "orchestrator", f"{saga}/{earlier}", json={"reason": "before"}, headers=system.admin
                )
                assert given.status_code == 202, given.text
        bodies = tuple({"reason": reason, **body} for reason in ("one", "two"))
        effects = _audited(system, saga.removeprefix("/sagas/"), what)
        return Keyed("orchestrator", f"{saga}/{what}", system.admin, bodies, effects)

    return prepare


def settled(what: str, signal: str) -> Callable[[System], Awaitable[Keyed]]:
    """Return two ways to settle an order's payment or its approval."""

    async def prepare(system: System) -> Keyed:
        awaits = {"awakeable": "tok_manual", "promise": "tok_ok"}
        await system.place("order-1", payment_token=awaits[signal])
        await system.settle()
        saga_id = (await system.saga("order-1"))["saga_id"]
        bodies: tuple[Any, ...] = tuple({"code": "no", "message": message} for message in ("one", "two"))
        if signal == "awakeable":
            path = f"/awakeables/{await system.awakeable_id('order-1')}"
            money = {"amount_minor": 1999, "currency": "USD"}
            values: list[Any] = [
                {"payment_id": f"pay_{n}", "transaction_id": "t", "amount": money} for n in ("one", "two")
            ]
        else:
            path = f"/sagas/{saga_id}/promises/admin_approval"
            values = [{"approved": approved, "reason": None} for approved in (True, False)]
        if what == "resolve":
            bodies = tuple({"value": value} for value in values)
        word = {"resolve": "resolved", "reject": "rejected"}[what]
        effects = _audited(system, saga_id, f"{signal}.{word}")
        return Keyed("orchestrator", f"{path}/{what}", system.service(), bodies, effects)

    return prepare


async def decided(system: System) -> Keyed:
    """Approve and reject one order."""
    await system.place("order-1")
    await system.settle()
    effects = _audited(system, (await system.saga("order-1"))["saga_id"], "approval.decided")
    bodies = tuple({"decision": decision} for decision in ("approve", "reject"))
    return Keyed("orchestrator", await system.approval_path("order-1"), system.admin, bodies, effects)


async def sagas_erased(system: System) -> Keyed:
    """Erase what a customer's sagas hold, for two reasons."""
    body = {"workflow": "refund-payment", "key": "pay_1", "input": {"payment_id": "pay_1"}, "subject": "bob"}
    assert (await system.call("POST", "orchestrator", "/sagas", json=body, headers=system.service())).status_code == 202
    await system.settle()
    effects = _audited(system, "bob", "erase")
    return Keyed("orchestrator", "/users/bob/erase", system.admin, _reasons(), effects)


async def customer_erased(system: System) -> Keyed:
    """Erase a customer, for two reasons."""
    effects = _counted(system, "session", "audit where action = 'customer.erased'")
    return Keyed("session", "/users/bob/erase", system.admin, _reasons(), effects)


async def line_added(system: System) -> Keyed:
    """Add one piece, or one hundred."""

    async def effects() -> int:
        cart = await system.call("GET", "session", "/users/alice/cart", headers=system.bearer())
        return sum(1 if item["quantity"] in (1, 100) else 2 for item in cart.json()["items"])

    bodies = tuple({"sku": "book", "quantity": quantity} for quantity in (1, 100))
    return Keyed("session", "/users/alice/cart/items", system.bearer(), bodies, effects)


async def checked_out(system: System) -> Keyed:
    """Order one basket under two order ids."""
    line = {"sku": "book", "quantity": 1}
    path = "/users/alice/cart/items"
    assert (await system.call("POST", "session", path, json=line, headers=system.bearer())).status_code == 200
    bodies = tuple({"shipping_address": ADDRESS, "order_id": order_id} for order_id in ("order-1", "order-2"))
    return Keyed("session", "/users/alice/checkout", system.bearer(), bodies, _counted(system, "session", "orders"))


async def executed(system: System) -> Keyed:
    """Mark the first attempt as paid, and a second one that never was."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    effects = _counted(system, "session", "attempts where executed_at is not null")
    bodies = tuple({"attempt": attempt} for attempt in (1, 2))
    return Keyed("session", "/checkouts/order-1/executed", system.service("session", "orchestrator"), bodies, effects)


async def order_cancelled(system: System) -> Keyed:
    """Ask to cancel an order, for two reasons."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    effects = _counted(system, "session", "outbox where name = 'cancel-saga'")
    return Keyed("session", "/users/alice/orders/order-1/cancel", system.bearer(), _reasons(), effects)


async def told(system: System) -> Keyed:
    """Two events of one order."""
    await system.place("order-1", payment_token="tok_manual")
    await system.settle()
    data = {"order_id": "order-1", "attempt": 1, "status": "awaiting_approval"}
    bodies = tuple(
        {
            "specversion": "1.0",
            "id": event,
            "source": "/orchestrator/sagas/1",
            "type": "order.awaiting_approval",
            "subject": "order-1",
            "time": "2026-11-24T10:00:00Z",
            "data": data,
        }
        for event in ("evt-1", "evt-2")
    )
    effects = _counted(system, "session", "inbox where message_id in ('evt-1', 'evt-2')")
    return Keyed("session", "/events", system.service("session", "orchestrator"), bodies, effects)


async def shipped(system: System) -> Keyed:
    """Hand two orders to the carrier."""
    bodies = tuple(
        {"order_id": order_id, "attempt": 1, "address": ADDRESS, "items": _ITEMS} for order_id in ("order-1", "order-2")
    )

    async def effects() -> int:
        return len(await system.fleet())

    return Keyed("shipping", "/shipments", system.service("shipping", "orchestrator"), bodies, effects)


async def shipment_cancelled(system: System) -> Keyed:
    """Take an order back; the bodies, which nobody reads, differ."""
    effects = _counted(system, "shipping", "shipments where status = 'cancelled'")
    headers = system.service("shipping", "orchestrator")
    return Keyed("shipping", "/shipments/order-1/cancel", headers, _reasons(), effects)


def freed(service: str, what: str, action: str) -> Callable[[System], Awaitable[Keyed]]:
    """Return an operation on a dead letter, for two reasons."""

    async def prepare(system: System) -> Keyed:
        async with system.apps[service].state.database.begin() as conn:
            await conn.fetch(_BLOCK)
            await conn.fetch(_REFUSE)
        effects = _counted(system, service, f"audit where action = '{action}'")
        return Keyed(service, f"/dead-letters/msg-9/{what}", system.admin, _reasons(), effects)

    return prepare


def _reasons() -> tuple[Any, ...]:
    return tuple({"reason": reason} for reason in ("one", "two"))


def _audited(system: System, subject: str, action: str) -> Callable[[], Awaitable[int]]:
    async def count() -> int:
        answer = await system.call("GET", "orchestrator", f"/audit?saga_id={subject}", headers=system.admin)
        return [entry["action"] for entry in answer.json()["items"]].count(action)

    return count


def _counted(system: System, service: str, rows: str) -> Callable[[], Awaitable[int]]:
    async def count() -> int:
        async with system.apps[service].state.database.autocommit() as conn:
            return int(await conn.scalar(Statement.of(f"select count(*) from {rows}")))

    return count


KEYED: Mapping[str, Callable[[System], Awaitable[Keyed]]] = {
    "orchestrator /sagas": saga_started,
    "orchestrator /sagas/{saga_id}/cancel": steered("cancel"),
    "orchestrator /sagas/{saga_id}/pause": steered("pause"),
    "orchestrator /sagas/{saga_id}/resume": steered("resume", "pause"),
    "orchestrator /sagas/{saga_id}/retry": steered("retry", "stick"),
    "orchestrator /sagas/{saga_id}/skip": steered("skip", "stick", position="99"),
    "orchestrator /sagas/{saga_id}/restart": steered("restart", "pause", from_position="1"),
    "orchestrator /sagas/{saga_id}/promises/{name}/resolve": settled("resolve", "promise"),
    "orchestrator /sagas/{saga_id}/promises/{name}/reject": settled("reject", "promise"),
    "orchestrator /awakeables/{awakeable_id}/resolve": settled("resolve", "awakeable"),
    "orchestrator /awakeables/{awakeable_id}/reject": settled("reject", "awakeable"),
    "orchestrator /approvals/{token}": decided,
    "orchestrator /users/{user_id}/erase": sagas_erased,
    "orchestrator /dead-letters/{message_id}/retry": freed("orchestrator", "retry", "dead-letter.retried"),
    "orchestrator /dead-letters/{message_id}/discard": freed("orchestrator", "discard", "dead-letter.discarded"),
    "session /dead-letters/{message_id}/retry": freed("session", "retry", "dead-letter.retried"),
    "session /dead-letters/{message_id}/discard": freed("session", "discard", "dead-letter.discarded"),
    "session /users/{user_id}/cart/items": line_added,
    "session /users/{user_id}/checkout": checked_out,
    "session /checkouts/{order_id}/executed": executed,
    "session /users/{user_id}/orders/{order_id}/cancel": order_cancelled,
    "session /users/{user_id}/erase": customer_erased,
    "session /events": told,
    "shipping /shipments": shipped,
    "shipping /shipments/{order_id}/cancel": shipment_cancelled,
}
"""How each is prepared, by its service and path."""
