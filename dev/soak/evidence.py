"""What is found after a run: the three databases, the processor's ledger, the carrier's fleet, and their calls."""

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import asyncpg
import httpx

from dev.soak import watch
from dev.soak.fleet import Fleet
from dev.soak.watch import Takeover

Rows = Sequence[Mapping[str, Any]]

SAGAS = """
select id::text, workflow, key, phase, run_state, outcome, error_code, attention, due_at > clock_timestamp() as later,
       takeovers, extract(epoch from created_at)::float8 as born
from sagas
"""
STEPS = "select saga_id::text, position, kind, name, attempts, error_code, finished_at from steps"
UNDOS = "select saga_id::text, seq, name, status, started_at, finished_at, error_code from compensations"
SIGNALS = "select saga_id::text, name, kind, status from signals"
ORDERS = "select order_id, attempt, status from orders"
ATTEMPTS = "select order_id, attempt, total_minor from attempts"
HISTORY = "select order_id, attempt, status from order_history order by order_id, entry_no"
STOCK = "select sku, on_hand, held from products"
RESERVED = """
select order_id, attempt, status, sku, quantity
from reservations join reservation_items using (order_id, attempt)
"""
OUTBOX = "select count(*) as waiting, count(dead_at) as dead from outbox"


@dataclass(frozen=True)
class Evidence:
    """Everything, as rows."""

    sagas: Rows
    steps: Rows
    undos: Rows
    signals: Rows
    orders: Rows
    attempts: Rows
    history: Rows
    stock: Rows
    reserved: Rows
    messages: int
    waiting: int
    dead: int
    payments: Rows
    events: Rows
    payment_calls: Rows
    parcels: Rows
    parcel_calls: Rows
    takeovers: Sequence[Takeover]
    claims: int
    seen: Sequence[str]
    """Violations that the triggers have written down."""

    def saga_of(self) -> dict[str, Mapping[str, Any]]:
        """Sagas of orders by their key."""
        return {str(saga["key"]): saga for saga in self.sagas if saga["workflow"] == "order"}


def key_of(order_id: str, attempt: int) -> str:
    """Return the key of the saga that serves an attempt."""
    return order_id if attempt == 1 else f"{order_id}~{attempt}"


def by(rows: Rows, *names: str) -> dict[Any, list[Mapping[str, Any]]]:
    """Group rows by one or several columns."""
    found = defaultdict(list)
    for row in rows:
        found[row[names[0]] if len(names) == 1 else tuple(row[name] for name in names)].append(row)
    return found


async def live(fleet: Fleet) -> tuple[Rows, int]:
    """Return the sagas that have not ended, and how many messages wait to be delivered."""
    waiting = 0
    for service in ("session", "orchestrator"):
        connection = await fleet.admin(service)
        try:
            waiting += int((await connection.fetchrow(OUTBOX) or {"waiting": 0})["waiting"])
            if service == "orchestrator":
                sagas = await connection.fetch(f"{SAGAS} where phase <> 'ended'")
        finally:
            await connection.close()
    return [dict(saga) for saga in sagas], waiting


async def under_way(fleet: Fleet) -> int:
    """Count the orders that have not ended, as far as sagas go."""
    connection = await fleet.admin("orchestrator")
    try:
        return int(await connection.fetchval("select count(*) from sagas where phase <> 'ended'", timeout=5))
    finally:
        connection.terminate()


async def undelivered(fleet: Fleet) -> int:
    """Count the webhooks that the processor still has to deliver."""
    async with httpx.AsyncClient(trust_env=False, timeout=30) as http:
        events = (await http.get(f"{fleet.urls['payment'][0]}/_control/events")).json()["events"]
    return sum(not event["delivered"] and not event["held"] for event in events)


async def gather(fleet: Fleet) -> Evidence:
    """Look at everything, when all is quiet."""
    async with httpx.AsyncClient(trust_env=False, timeout=60) as http:

        async def get(service: str, path: str) -> Any:
            return (await http.get(fleet.urls[service][0] + path)).raise_for_status().json()

        outside = {
            "payments": (await get("payment", "/ledger"))["payments"],
            "events": (await get("payment", "/_control/events"))["events"],
            "payment_calls": (await get("payment", "/_control/calls"))["calls"],
            "parcels": (await get("carrier", "/fleet"))["parcels"],
            "parcel_calls": (await get("carrier", "/_control/calls"))["calls"],
        }
    ours = await fleet.admin("orchestrator")
    session = await fleet.admin("session")
    try:
        boxes = [row for connection in (ours, session) for row in await _rows(connection, OUTBOX)]
        heard = [await connection.fetchval("select count(*) from inbox") for connection in (ours, session)]
        return Evidence(
            sagas=await _rows(ours, SAGAS),
            steps=await _rows(ours, STEPS),
            undos=await _rows(ours, UNDOS),
            signals=await _rows(ours, SIGNALS),
            orders=await _rows(session, ORDERS),
            attempts=await _rows(session, ATTEMPTS),
            history=await _rows(session, HISTORY),
            stock=await _rows(session, STOCK),
            reserved=await _rows(session, RESERVED),
            messages=sum(map(int, heard)),
            waiting=sum(int(box["waiting"]) for box in boxes),
            dead=sum(int(box["dead"]) for box in boxes),
            takeovers=await watch.takeovers(ours),
            claims=await watch.claims(ours),
            seen=await watch.violations(ours),
            **outside,
        )
    finally:
        await ours.close()
        await session.close()


async def _rows(connection: "asyncpg.Connection[asyncpg.Record]", statement: str) -> Rows:
    return [dict(row) for row in await connection.fetch(statement)]
