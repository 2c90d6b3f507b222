"""What must hold after a run, guarantee by guarantee: each check counts what it looked at and names what is wrong."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

from dev.soak.evidence import Evidence, by, key_of
from dev.soak.plans import SCARCE, SCARCE_STOCK, STOCK
from dev.soak.shopper import Journal

PROGRESS = ("pending_payment", "awaiting_approval", "approved", "shipped", "completed")
STATUS_OF_FAILURE = {
    "out-of-stock": "out_of_stock",
    "payment-failed": "payment_failed",
    "payment-expired": "payment_expired",
    "order-rejected": "rejected",
    "approval-expired": "approval_expired",
    "shipment-failed": "shipment_failed",
}
AFTER = {
    "approve": {"approved", "shipped", "completed", "shipment_failed", "cancelled"},
    "reject": {"rejected", "cancelled"},
}
"""What an order may come to after each decision."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """How often a guarantee was tried, and every time that it did not hold."""

    guarantee: str
    trials: int
    wrong: tuple[str, ...]
    what: str


def acknowledged(found: Evidence, journal: Journal) -> Verdict:
    """G1: what was answered 2xx is there, whatever has crashed since."""
    trials = len(journal.acks) + sum(bool(event["delivered"]) for event in found.events)
    wrong = (*_acks_lost(found, journal), *_webhooks_lost(found))
    return Verdict("G1", trials, wrong, "calls answered 2xx (baskets, checkouts, cancels, decisions, webhooks)")


def _acks_lost(found: Evidence, journal: Journal) -> Iterator[str]:
    attempts = {(row["order_id"], row["attempt"]) for row in found.attempts}
    orders = {row["order_id"]: row["status"] for row in found.orders}
    history = by(found.history, "order_id")
    sagas = found.saga_of()
    for ack in journal.acks:
        if ack.what == "checkout":
            if (ack.order_id, ack.attempt) not in attempts:
                yield f"{ack.order_id}, attempt {ack.attempt}: the checkout is lost"
            if key_of(ack.order_id, ack.attempt) not in sagas:
                yield f"{ack.order_id}, attempt {ack.attempt}: the saga was never started"
        elif ack.what == "cancel":
            told = {entry["status"] for entry in history[ack.order_id]}
            if "cancel_requested" not in told:
                yield f"{ack.order_id}: the cancel is lost"
            elif not told & {"cancelled", "cancel_refused"}:
                yield f"{ack.order_id}: the cancel came to nothing ({orders.get(ack.order_id)})"
        elif ack.what == "decision" and orders.get(ack.order_id) not in AFTER[ack.said]:
            yield f"{ack.order_id}: {ack.said} was acknowledged, and the order is {orders.get(ack.order_id)}"


def _webhooks_lost(found: Evidence) -> Iterator[str]:
    settled = {row["saga_id"]: row["status"] for row in found.signals if row["kind"] == "awakeable"}
    refunds = {row["key"] for row in found.sagas if row["workflow"] == "refund-payment"}
    attempt_of = {row["payment_id"]: row["attempt"] for row in found.payments}
    sagas = found.saga_of()
    for event in found.events:
        if not event["delivered"] or event["type"] not in {"payment.succeeded", "payment.failed"}:
            continue
        saga = sagas.get(key_of(event["order_id"], attempt_of[event["payment_id"]]))
        status = settled.get(saga["id"]) if saga else None
        if event["type"] == "payment.succeeded":
            if status != "resolved" and event["payment_id"] not in refunds:
                yield f"{event['order_id']}: a payment was acknowledged, its awakeable is {status}, no refund owns it"
        elif status not in {"rejected", "expired"} and (saga is None or saga["phase"] == "forward"):
            yield f"{event['order_id']}: a declined payment was acknowledged, its awakeable is {status}"


def signals(found: Evidence, _: Journal) -> Verdict:
    """G10: a webhook answered 2xx has settled its wait, or its money has an owner."""
    webhooks = [event for event in found.events if event["delivered"]]
    return Verdict("G10", len(webhooks), tuple(_webhooks_lost(found)), "webhooks acknowledged under faults")


def calls(found: Evidence, _: Journal) -> Verdict:
    """G3: the processor saw no more requests for a payment than attempts were written down before they were made."""
    made = Counter(call["key"] for call in found.payment_calls if _is(call, "POST", "/payments"))
    steps = [step for step in found.steps if step["name"] == "request_payment"]
    wrong = tuple(
        f"saga {step['saga_id']}: {made[key]} calls of {step['attempts']} attempts"
        for step in steps
        if made[key := f"{step['saga_id']}:{step['position']}"] > step["attempts"]
    )
    return Verdict("G3", len(steps), wrong, "recorded payment requests: calls at the processor against attempts")


def keys(found: Evidence, _: Journal) -> Verdict:
    """G4: every attempt of a step came under one key, and took effect once."""
    wrong: list[str] = []
    attempts = Counter(row["order_id"] for row in found.attempts)
    requests = [call for call in found.payment_calls if _is(call, "POST", "/payments")]
    parcels = [call for call in found.parcel_calls if _is(call, "POST", "/parcels")]
    for order_id, made in by(requests, "subject").items():
        if len({call["key"] for call in made}) > attempts[order_id]:
            wrong.append(f"{order_id}: payments asked for under several keys")
    for order_id, made in by(parcels, "subject").items():
        if len({call["key"] for call in made}) > 1:
            wrong.append(f"{order_id}: parcels asked for under several keys")
    wrong += [f"{name}: {len(rows)} parcels" for name, rows in by(found.parcels, "reference").items() if len(rows) > 1]
    trials = len(requests) + len(parcels)
    return Verdict("G4", trials, tuple(wrong), "calls of processor and carrier: keys, and what took effect")


def undos(found: Evidence, _: Journal) -> Verdict:
    """G8: an aborted order has every undo settled, the last first, and nothing was undone that has no row."""
    aborted = {saga["id"]: saga for saga in found.saga_of().values() if saga["outcome"] in {"failed", "cancelled"}}
    owned = by(found.undos, "saga_id")
    wrong: list[str] = []
    for saga_id, saga in aborted.items():
        rows = sorted(owned[saga_id], key=_seq, reverse=True)
        wrong += [f"{saga['key']}: {row['name']} is {row['status']}" for row in rows if row["status"] == "owed"]
        done = [row for row in rows if row["status"] == "done"]
        for later, earlier in pairwise(done):
            if earlier["started_at"] < later["finished_at"]:
                wrong.append(f"{saga['key']}: {earlier['name']} was undone before {later['name']}")
    intents = {row["saga_id"] for row in found.undos if row["name"] == "void_or_refund"}
    for call in found.payment_calls:
        saga_id = str(call["key"] or "").partition(":")[0]
        if _is(call, "POST", "/payments/void") and saga_id not in intents:
            wrong.append(f"{call['subject']}: voided, and no undo says so")
    trials = sum(len(owned[saga_id]) for saga_id in aborted)
    return Verdict("G8", trials, tuple(wrong), "undos of aborted orders: all settled, last in first out")


def balance(found: Evidence, _: Journal) -> Verdict:
    """G9: money kept is the price of what was shipped, a parcel for each shipped order, and the stock fits."""
    wrong: list[str] = []
    money: Counter[str] = Counter()
    for payment in found.payments:
        money[payment["order_id"]] += payment["captured_minor"] - payment["refunded_minor"]
    parcels = Counter(row["reference"] for row in found.parcels if row["status"] != "cancelled")
    totals = {(row["order_id"], row["attempt"]): row["total_minor"] for row in found.attempts}
    for order in found.orders:
        order_id = order["order_id"]
        shipped = order["status"] in {"shipped", "completed"}
        due = totals[order_id, order["attempt"]] if shipped else 0
        if money[order_id] != due:
            wrong.append(f"{order_id} ({order['status']}): {money[order_id]} is kept, {due} is due")
        if parcels[order_id] != int(shipped):
            wrong.append(f"{order_id} ({order['status']}): {parcels[order_id]} parcels are on their way")
    wrong += _stock(found)
    return Verdict("G9", len(found.orders), tuple(wrong), "orders balanced by ledger, fleet and stock")


def _stock(found: Evidence) -> Iterator[str]:
    pieces: Counter[tuple[str, str]] = Counter()
    for row in found.reserved:
        pieces[row["sku"], row["status"]] += row["quantity"]
    sold: Counter[str] = Counter()
    orders = {row["order_id"]: row["status"] for row in found.orders}
    for row in found.reserved:
        if row["status"] == "sold" and orders.get(row["order_id"]) not in {"shipped", "completed"}:
            yield f"{row['order_id']} is {orders.get(row['order_id'])}, and its stock is sold"
        sold[row["sku"]] += row["quantity"] if row["status"] == "sold" else 0
    for product in found.stock:
        sku = product["sku"]
        initial = SCARCE_STOCK if sku == SCARCE else STOCK if sku.startswith("soak-") else None
        if initial is not None and (product["on_hand"], product["held"]) != (initial - sold[sku], pieces[sku, "held"]):
            yield f"{sku}: {product['on_hand']} on hand and {product['held']} held, of {initial}, {sold[sku]} sold"


def messages(found: Evidence, _: Journal) -> Verdict:
    """G15: every message has arrived, each once, and session knows of every order what its saga has come to."""
    wrong: list[str] = []
    if found.waiting:
        wrong.append(f"{found.waiting} messages wait, {found.dead} of them refused")
    sagas = found.saga_of()
    for order in found.orders:
        saga = sagas.get(key_of(order["order_id"], order["attempt"]))
        if saga and saga["phase"] == "ended" and order["status"] != (meant := _status(saga)):
            wrong.append(f"{order['order_id']} is {order['status']} to its customer; its saga has ended {meant}")
    for (order_id, attempt), entries in by(found.history, "order_id", "attempt").items():
        told = [entry["status"] for entry in entries if entry["status"] in PROGRESS]
        if told != sorted(set(told), key=PROGRESS.index):
            wrong.append(f"{order_id}, attempt {attempt}: told in the order {told}")
    trials = found.messages + len(found.attempts)
    return Verdict("G15", trials, tuple(wrong), "messages between the services: arrived, once, in order")


def repeats(_: Evidence, journal: Journal) -> Verdict:
    """G16: the same call under the same key is answered alike by every replica."""
    return Verdict("G16", journal.repeats, tuple(journal.contradictions), "calls repeated under their key")


def _status(saga: Any) -> str:
    if saga["outcome"] in {"completed", "cancelled"}:
        return str(saga["outcome"])
    return STATUS_OF_FAILURE.get(saga["error_code"], "needs_attention")


def _is(call: Any, method: str, path: str) -> bool:
    return bool(call["method"] == method and call["path"] == path)


def _seq(row: Any) -> int:
    return int(row["seq"])


CHECKS = (acknowledged, calls, keys, undos, balance, signals, messages, repeats)
