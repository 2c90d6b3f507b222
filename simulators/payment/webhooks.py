"""The processor's webhooks: signed by Standard Webhooks 1.0, and sent again until they are answered 2xx."""

import base64
import hashlib
import hmac
import json
import logging
import sqlite3
from dataclasses import dataclass
from typing import Any

import httpx

from simulators.clock import Clock, new_id
from simulators.faults import FaultPlan
from simulators.later import Later
from simulators.payment.ledger import Payment
from simulators.storage import one_commit

SCHEMA = """
CREATE TABLE IF NOT EXISTS events (
    event_id TEXT PRIMARY KEY, payment_id TEXT NOT NULL, type TEXT NOT NULL, order_id TEXT NOT NULL, url TEXT NOT NULL,
    body TEXT NOT NULL, held INTEGER NOT NULL, copies INTEGER NOT NULL, tries INTEGER NOT NULL DEFAULT 0,
    delivered INTEGER NOT NULL DEFAULT 0
);
"""

_FIRST_RETRY_S = 0.5
_MAX_RETRY_S = 30.0
_LARGEST_EXPONENT = 10

_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Event:
    """A webhook to be delivered; `held` ones wait to be released, `copies` is how often it is sent at least."""

    event_id: str
    payment_id: str
    type: str
    order_id: str
    url: str
    body: str
    held: int
    copies: int
    tries: int
    delivered: int


def sign(secret: str, *, event_id: str, timestamp: int, body: bytes) -> dict[str, str]:
    """Return the three headers of Standard Webhooks for `body`; `secret` is `whsec_` and base64."""
    key = base64.b64decode(secret.removeprefix("whsec_"))
    digest = hmac.new(key, f"{event_id}.{timestamp}.".encode() + body, hashlib.sha256).digest()
    return {
        "webhook-id": event_id,
        "webhook-timestamp": str(timestamp),
        "webhook-signature": f"v1,{base64.b64encode(digest).decode()}",
    }


class Webhooks:
    """Events on their way out; they survive a restart, and none is given up."""

    def __init__(
        self,
        storage: sqlite3.Connection,
        *,
        clock: Clock,
        later: Later,
        faults: FaultPlan,
        http: httpx.AsyncClient | None,
        secret: str,
    ) -> None:
        """Send through `http`, or through a client of its own made at the first send."""
        self._storage = storage
        self._clock = clock
        self._later = later
        self._faults = faults
        self._http = http
        self._own_http: httpx.AsyncClient | None = None
        self._secret = secret

    def record(
        self,
        payment: Payment,
        kind: str,
        *,
        amount_minor: int | None = None,
        details: dict[str, str] | None = None,
        held: bool = False,
        copies: int = 1,
    ) -> str:
        """Write the event down, so that it is delivered once released; returns its id."""
        event_id = new_id("evt")
        amount = payment.amount_minor if amount_minor is None else amount_minor
        data: dict[str, Any] = {
            "payment_id": payment.payment_id,
            "awakeable_id": payment.awakeable_id,
            "order_id": payment.order_id,
            "amount": {"amount_minor": amount, "currency": payment.currency},
            **(details or {}),
        }
        timestamp = self._clock.now().isoformat().replace("+00:00", "Z")
        body = json.dumps({"type": kind, "timestamp": timestamp, "data": data})
        with one_commit(self._storage):
            self._storage.execute(
                "INSERT INTO events (event_id, payment_id, type, order_id, url, body, held, copies)"
                " VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                (event_id, payment.payment_id, kind, payment.order_id, payment.webhook_url, body, held, copies),
            )
        return event_id

    def release(self, payment_id: str) -> None:
        """Send the events of a payment that were held back."""
        held = [event for event in self._undelivered() if event.held and event.payment_id == payment_id]
        with one_commit(self._storage):
            self._storage.execute("UPDATE events SET held = 0 WHERE payment_id = ?", (payment_id,))
        for event in held:
            self.send_soon(event.event_id)

    def send_soon(self, event_id: str) -> None:
        """Deliver an event in the background."""

        async def send() -> None:
            await self.send(event_id)

        self._later.after(0, send)

    def resume(self) -> None:
        """Deliver what a former process has not."""
        for event in self._undelivered():
            if not event.held:
                self.send_soon(event.event_id)

    async def send(self, event_id: str) -> None:
        """Try to deliver an event; an unsuccessful try is followed by another one later."""
        event = self._get(event_id)
        fault = self._faults.take(method="POST", path=event.type, subject=event.order_id, webhook=True)
        copies = 0 if fault and fault.kind == "webhook_lost" else event.copies + (1 if fault else 0)
        accepted = [await self._post(event) for _ in range(copies)]
        if accepted and all(accepted):
            with one_commit(self._storage):
                self._storage.execute("UPDATE events SET delivered = 1 WHERE event_id = ?", (event_id,))
            return
        with one_commit(self._storage):
            self._storage.execute("UPDATE events SET tries = tries + 1 WHERE event_id = ?", (event_id,))
        delay_s = min(_MAX_RETRY_S, _FIRST_RETRY_S * 2 ** min(event.tries, _LARGEST_EXPONENT))

        async def again() -> None:
            await self.send(event_id)

        self._later.after(delay_s, again, again=True)

    def view(self) -> list[dict[str, Any]]:
        """Return every event with the tries that failed and whether it was delivered."""
        rows = self._storage.execute("SELECT * FROM events ORDER BY rowid")
        return [{**dict(row), "body": json.loads(row["body"])} for row in rows]

    async def close(self) -> None:
        """Close the client of its own, if there is one."""
        if self._own_http is not None:
            await self._own_http.aclose()

    async def _post(self, event: Event) -> bool:
        body = event.body.encode()
        headers = sign(self._secret, event_id=event.event_id, timestamp=int(self._clock.now().timestamp()), body=body)
        try:
            answer = await self._client().post(
                event.url, content=body, headers={**headers, "content-type": "application/json"}
            )
        except Exception as error:  # noqa: BLE001 - whatever went wrong at the other end, the event is sent again
            _log.info("webhook %s to %s was not delivered: %r", event.event_id, event.url, error)
            return False
        return answer.is_success

    def _client(self) -> httpx.AsyncClient:
        if self._http is not None:
            return self._http
        if self._own_http is None:
            self._own_http = httpx.AsyncClient(timeout=10, follow_redirects=False, trust_env=False)
        return self._own_http

    def _get(self, event_id: str) -> Event:
        row = self._storage.execute("SELECT * FROM events WHERE event_id = ?", (event_id,)).fetchone()
        return Event(**dict(row))

    def _undelivered(self) -> list[Event]:
        rows = self._storage.execute("SELECT * FROM events WHERE NOT delivered ORDER BY rowid")
        return [Event(**dict(row)) for row in rows]
