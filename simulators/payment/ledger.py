"""The processor's books: payments, what was captured and given back, and the tombstones of voided attempts.

One payment per order and attempt. `captured_minor` never shrinks, `refunded_minor` never exceeds it, and a voided
attempt never captures.
"""

import sqlite3
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from simulators.clock import new_id
from simulators.problems import Problem
from simulators.storage import one_commit

SCHEMA = """
CREATE TABLE IF NOT EXISTS payments (
    payment_id TEXT PRIMARY KEY, order_id TEXT NOT NULL, attempt INTEGER NOT NULL, awakeable_id TEXT NOT NULL,
    amount_minor INTEGER NOT NULL, currency TEXT NOT NULL, payment_token TEXT NOT NULL, webhook_url TEXT NOT NULL,
    status TEXT NOT NULL CHECK (status IN ('pending', 'captured', 'failed', 'voided')), transaction_id TEXT,
    captured_minor INTEGER NOT NULL DEFAULT 0 CHECK (captured_minor IN (0, amount_minor)),
    refunded_minor INTEGER NOT NULL DEFAULT 0 CHECK (refunded_minor BETWEEN 0 AND captured_minor),
    UNIQUE (order_id, attempt), CHECK (status = 'captured' OR captured_minor = 0)
);
CREATE TABLE IF NOT EXISTS voids (order_id TEXT NOT NULL, attempt INTEGER NOT NULL, PRIMARY KEY (order_id, attempt));
"""


DEFAULT_TOKEN = "tok_ok"  # noqa: S105 - the name of a behaviour


class Money(BaseModel):
    """An amount in the currency's smallest unit."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    amount_minor: Annotated[int, Field(ge=0, le=10**15, strict=True)]
    currency: Annotated[str, StringConstraints(pattern=r"^[A-Z]{3}$")]


class PaymentRequest(BaseModel):
    """`POST /payments`: take this amount for this attempt at an order, and tell the awakeable."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    awakeable_id: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    order_id: Annotated[str, StringConstraints(min_length=1, max_length=255)]
    attempt: Annotated[int, Field(ge=1, strict=True)]
    amount: Money
    payment_token: Annotated[str, StringConstraints(min_length=1, max_length=255)] = DEFAULT_TOKEN
    webhook_url: Annotated[str, StringConstraints(min_length=1, max_length=2_000)] | None = None


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment as the books have it."""

    payment_id: str
    order_id: str
    attempt: int
    awakeable_id: str
    amount_minor: int
    currency: str
    payment_token: str
    webhook_url: str
    status: Literal["pending", "captured", "failed", "voided"]
    transaction_id: str | None
    captured_minor: int
    refunded_minor: int

    def view(self) -> dict[str, Any]:
        """Return what the processor tells of it; the token stays inside."""
        return {
            "payment_id": self.payment_id,
            "order_id": self.order_id,
            "attempt": self.attempt,
            "awakeable_id": self.awakeable_id,
            "amount": {"amount_minor": self.amount_minor, "currency": self.currency},
            "status": self.status,
            "transaction_id": self.transaction_id,
            "captured_minor": self.captured_minor,
            "refunded_minor": self.refunded_minor,
            "voided": self.status == "voided",
        }


class Ledger:
    """The books; every change is one transaction, refusals are `Problem`s."""

    def __init__(self, storage: sqlite3.Connection) -> None:
        """Keep the books in `storage`, which has this module's schema."""
        self._storage = storage

    def request(self, wanted: PaymentRequest, *, webhook_url: str) -> tuple[Payment, bool]:
        """Open a payment, or find the one of this attempt; True if it is new."""
        known = self.find(order_id=wanted.order_id, attempt=wanted.attempt)
        if known:
            payment = known[0]
            asked = (wanted.awakeable_id, wanted.amount.amount_minor, wanted.amount.currency, wanted.payment_token)
            if asked != (payment.awakeable_id, payment.amount_minor, payment.currency, payment.payment_token):
                raise Problem(409, "payment-conflict", "This attempt was requested with other content before.")
            return payment, False
        if self._voided(wanted.order_id, wanted.attempt):
            raise Problem(409, "payment-voided", "This attempt was voided before it was requested.")
        payment_id = new_id("pay")
        with one_commit(self._storage):
            self._storage.execute(
                "INSERT INTO payments (payment_id, order_id, attempt, awakeable_id, amount_minor, currency,"
                " payment_token, webhook_url, status) VALUES (?, ?, ?, ?, ?, ?, ?, ?, 'pending')",
                (
                    payment_id,
                    wanted.order_id,
                    wanted.attempt,
                    wanted.awakeable_id,
                    wanted.amount.amount_minor,
                    wanted.amount.currency,
                    wanted.payment_token,
                    webhook_url,
                ),
            )
        return self.get(payment_id), True

    def get(self, payment_id: str) -> Payment:
        """Return a payment, or refuse an unknown id."""
        row = self._storage.execute("SELECT * FROM payments WHERE payment_id = ?", (payment_id,)).fetchone()
        if row is None:
            raise Problem(404, "payment-unknown", "There is no such payment.", final=False)
        return Payment(**dict(row))

    def find(
        self, *, order_id: str | None = None, attempt: int | None = None, status: str | None = None
    ) -> list[Payment]:
        """Return payments in the order they were requested."""
        rows = self._storage.execute(
            "SELECT * FROM payments WHERE (:order_id IS NULL OR order_id = :order_id)"
            " AND (:attempt IS NULL OR attempt = :attempt) AND (:status IS NULL OR status = :status) ORDER BY rowid",
            {"order_id": order_id, "attempt": attempt, "status": status},
        )
        return [Payment(**dict(row)) for row in rows]

    def capture(self, payment_id: str) -> bool:
        """Take the money of a pending or once failed payment; False if it cannot be taken (any more)."""
        return self._move(
            "UPDATE payments SET status = 'captured', captured_minor = amount_minor, transaction_id = :txn"
            " WHERE payment_id = :id AND status IN ('pending', 'failed')",
            payment_id,
        )

    def decline(self, payment_id: str) -> bool:
        """Refuse a pending payment; False if it is not pending."""
        return self._move(
            "UPDATE payments SET status = 'failed' WHERE payment_id = :id AND status = 'pending'", payment_id
        )

    def refund(self, payment_id: str, amount: Money | None) -> int:
        """Give back `amount` (None: all that is left); returns how much this call gave back, 0 if nothing was left."""
        payment = self.get(payment_id)
        left = payment.captured_minor - payment.refunded_minor
        if payment.status != "captured":
            raise Problem(409, "not-captured", "Nothing was captured, so nothing can be refunded.", final=False)
        if amount is not None and (amount.currency != payment.currency or amount.amount_minor > left > 0):
            raise Problem(422, "refund-exceeds-captured", "A refund cannot exceed what was captured.")
        giving = left if amount is None else min(left, amount.amount_minor)
        with one_commit(self._storage):
            self._storage.execute(
                "UPDATE payments SET refunded_minor = refunded_minor + ? WHERE payment_id = ?", (giving, payment_id)
            )
        return giving

    def void(self, order_id: str, attempt: int) -> Payment | None:
        """Make sure that this attempt never captures; returns the payment that was stopped by this call."""
        known = self.find(order_id=order_id, attempt=attempt)
        if known and known[0].status == "captured":
            raise Problem(409, "captured", "The money was captured.", final=False, payment_id=known[0].payment_id)
        with one_commit(self._storage):
            self._storage.execute(
                "INSERT INTO voids (order_id, attempt) VALUES (?, ?) ON CONFLICT DO NOTHING", (order_id, attempt)
            )
            stopped = self._storage.execute(
                "UPDATE payments SET status = 'voided' WHERE order_id = ? AND attempt = ? AND status <> 'voided'",
                (order_id, attempt),
            ).rowcount
        return self.get(known[0].payment_id) if stopped else None

    def _voided(self, order_id: str, attempt: int) -> bool:
        row = self._storage.execute("SELECT 1 FROM voids WHERE order_id = ? AND attempt = ?", (order_id, attempt))
        return row.fetchone() is not None

    def _move(self, statement: str, payment_id: str) -> bool:
        with one_commit(self._storage):
            return self._storage.execute(statement, {"id": payment_id, "txn": new_id("txn")}).rowcount == 1
