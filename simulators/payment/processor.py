"""How the processor behaves: what each payment token makes it do, and when.

| token | behaviour |
|---|---|
| `tok_ok` | captures after a short delay, then tells |
| `tok_decline` | declines after the delay, then tells |
| `tok_manual`, `tok_silent` | does nothing; `settle` moves it |
| `tok_late` | captures at once, tells only after a void was refused |
| `tok_twice` | as `tok_ok`, one event delivered twice |
| `tok_early` | captures and tells before it answers the request |
"""

from typing import Any, Literal

import httpx

from simulators.clock import Clock
from simulators.payment import ledger, webhooks
from simulators.payment.ledger import Ledger, Money, Payment, PaymentRequest
from simulators.payment.webhooks import Webhooks
from simulators.problems import Problem
from simulators.settings import Settings
from simulators.simulator import Simulator
from simulators.storage import one_commit

TOKENS = frozenset({"tok_ok", "tok_decline", "tok_manual", "tok_silent", "tok_late", "tok_twice", "tok_early"})

Outcome = Literal["succeeded", "failed"]


class PaymentProcessor(Simulator):
    """A payment processor, simulated by its protocol."""

    name = "payment"
    schema = ledger.SCHEMA + webhooks.SCHEMA

    def __init__(
        self, settings: Settings, *, clock: Clock | None, http: httpx.AsyncClient | None, in_process: bool
    ) -> None:
        """Send webhooks through `http`, or through a client of its own."""
        super().__init__(settings, clock=clock, in_process=in_process)
        self.ledger = Ledger(self.storage)
        self.webhooks = Webhooks(
            self.storage,
            clock=self.clock,
            later=self.later,
            faults=self.faults,
            http=http,
            secret=settings.webhook_secret,
        )

    async def start(self) -> None:
        """Settle and tell what a former process has left undone."""
        for payment in self.ledger.find(status="pending"):
            self._settle_later(payment)
        self.webhooks.resume()

    async def close(self) -> None:
        """Stop the work in the background."""
        await super().close()
        await self.webhooks.close()

    def subject_of(self, path: str, fields: dict[str, Any]) -> str | None:
        """Return the order that a call is about, also where only the payment is named."""
        parts = path.strip("/").split("/")
        if len(parts) > 1 and parts[0] == "payments" and parts[1] != "void":
            row = self.storage.execute("SELECT order_id FROM payments WHERE payment_id = ?", (parts[1],)).fetchone()
            return None if row is None else str(row["order_id"])
        return super().subject_of(path, fields)

    def request(self, wanted: PaymentRequest) -> tuple[Payment, str | None]:
        """Open a payment; returns it with the event that has to be sent before the answer, if any."""
        if wanted.payment_token not in TOKENS:
            raise Problem(422, "unknown-payment-token", "The payment token is not known here.")
        payment, created = self.ledger.request(wanted, webhook_url=wanted.webhook_url or self.settings.webhook_url)
        early = None
        if created and payment.payment_token == "tok_late":  # noqa: S105 - the name of a behaviour
            self._captured(payment.payment_id, held=True)
        elif created and payment.payment_token == "tok_early":  # noqa: S105 - likewise
            early = self._captured(payment.payment_id)
        elif created:
            self._settle_later(payment)
        return self.ledger.get(payment.payment_id), early

    def settle(self, payment_id: str, outcome: Outcome) -> Payment:
        """Settle a payment by hand; a declined one may still succeed, captured money stays captured."""
        payment = self.ledger.get(payment_id)
        if payment.status == "voided":
            raise Problem(409, "payment-voided", "This payment was voided.")
        if outcome == "succeeded":
            self._tell(self._captured(payment_id))
        elif payment.status == "captured":
            raise Problem(409, "captured", "The money was captured.")
        else:
            self._tell(self._declined(payment_id))
        return self.ledger.get(payment_id)

    def refund(self, payment_id: str, amount: Money | None) -> Payment:
        """Give money back, and tell."""
        with one_commit(self.storage):
            given = self.ledger.refund(payment_id, amount)
            payment = self.ledger.get(payment_id)
            event_id = self.webhooks.record(payment, "payment.refunded", amount_minor=given) if given else None
        self._tell(event_id)
        return payment

    def void(self, order_id: str, attempt: int) -> None:
        """Void an attempt, and tell; a refused void makes a late processor tell of its capture."""
        try:
            with one_commit(self.storage):
                stopped = self.ledger.void(order_id, attempt)
                event_id = self.webhooks.record(stopped, "payment.voided") if stopped else None
        except Problem:
            for payment in self.ledger.find(order_id=order_id, attempt=attempt):
                self.webhooks.release(payment.payment_id)
            raise
        self._tell(event_id)

    def _settle_later(self, payment: Payment) -> None:
        outcomes: dict[str, Outcome] = {"tok_ok": "succeeded", "tok_twice": "succeeded", "tok_decline": "failed"}
        outcome = outcomes.get(payment.payment_token)
        if outcome is None:
            return

        async def settle() -> None:
            if self.ledger.get(payment.payment_id).status == "pending":
                self.settle(payment.payment_id, outcome)

        self.later.after(self.settings.delay_s, settle)

    def _captured(self, payment_id: str, *, held: bool = False) -> str | None:
        with one_commit(self.storage):
            if not self.ledger.capture(payment_id):
                return None
            payment = self.ledger.get(payment_id)
            copies = 2 if payment.payment_token == "tok_twice" else 1  # noqa: S105 - the name of a behaviour
            details = {"transaction_id": payment.transaction_id or ""}
            return self.webhooks.record(payment, "payment.succeeded", details=details, held=held, copies=copies)

    def _declined(self, payment_id: str) -> str | None:
        with one_commit(self.storage):
            if not self.ledger.decline(payment_id):
                return None
            details = {"code": "card_declined", "message": "The card was declined."}
            return self.webhooks.record(self.ledger.get(payment_id), "payment.failed", details=details)

    def _tell(self, event_id: str | None) -> None:
        if event_id is not None:
            self.webhooks.send_soon(event_id)
