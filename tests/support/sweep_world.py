"""What an order touches outside of the orchestrator, kept in memory: stock, money, parcels and the customer's view.

The processor's ledger and the carrier's fleet are those of the simulators; session's stock and orders are modelled
here by their contract: a released attempt is never held again, an event is taken once. How an order goes wrong
outside is told by the beginning of its id, as the carrier does it.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import partial
from typing import Any, NoReturn

from simulators.carrier.fleet import Carrier, Parcel
from simulators.payment import ledger
from simulators.payment.ledger import Ledger, PaymentRequest
from simulators.problems import Problem
from simulators.settings import Settings
from simulators.storage import open_storage

PRICE = 1999
OUT_OF_STOCK = "OUT_OF_STOCK"
NO_CREDIT = "NO_CREDIT"
NOT_HELD = "NOT_HELD"
NO_VOID = "NO_VOID"
AWAY = "AWAY"
"""Nobody answers for stock until an administrator of theirs has intervened (`Outside.open`)."""

ATTEMPT: ContextVar[tuple[str, str] | None] = ContextVar("attempt", default=None)
"""The saga and the position of the attempt that this task makes."""

Asked = tuple[str, str, Mapping[str, Any]]
"""A method, a path, and what was sent along."""


@dataclass(frozen=True, slots=True)
class Arrival:
    """One call that has arrived: what it asked for, under which key, for which attempt, and what it came to."""

    what: str
    key: str | None
    attempt: tuple[str, str] | None
    came_to: str


@dataclass
class Outside:
    """Everything beyond the orchestrator; it survives every crash."""

    fleet: Carrier = field(default_factory=lambda: Carrier(Settings(), clock=None, in_process=True))
    ledger: Ledger = field(default_factory=lambda: Ledger(open_storage(None, "payment", ledger.SCHEMA)))
    stock: dict[str, str] = field(default_factory=dict)
    executed: list[str] = field(default_factory=list)
    told: dict[str, list[tuple[str, str]]] = field(default_factory=lambda: defaultdict(list))
    arrivals: dict[str, list[Arrival]] = field(default_factory=lambda: defaultdict(list))
    effects: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    open: set[str] = field(default_factory=set)

    def answer(self, asked: Asked, key: str | None) -> Any:
        """Do what is asked and give the answer's JSON; Problem if it is refused."""
        what, order_id, act = self._route(asked)
        try:
            value = act(order_id)
        except Problem as refusal:
            self._arrived(order_id, what, key, "refused" if refusal.status < 500 else "failed")
            raise
        self._arrived(order_id, what, key, "done")
        return value

    def unheard(self, asked: Asked, key: str | None) -> None:
        """Note a call that has gone out and did not arrive."""
        what, order_id, _ = self._route(asked)
        self._arrived(order_id, what, key, "unheard")

    def close(self) -> None:
        self.fleet.storage.close()
        self.ledger._storage.close()

    def _arrived(self, order_id: str, what: str, key: str | None, came_to: str) -> None:
        self.arrivals[order_id].append(Arrival(what, key, ATTEMPT.get(), came_to))

    def _route(self, asked: Asked) -> tuple[str, str, Any]:
        """Find what is asked for, about which order, and who answers."""
        method, path, sent = asked
        for name, of_method, pattern, act in _ROUTES:
            match = re.fullmatch(pattern, path) if method == of_method else None
            if match is not None:
                what = f"{name} {sent['data']['status']}" if name == "tell" else name
                about = {**sent, **match.groupdict()}
                order_id = about.get("order_id") or about.get("subject")
                if order_id is None:
                    order_id = self.ledger.get(about["payment_id"]).order_id
                return what, order_id, partial(act, self, about)
        raise AssertionError(f"nobody answers {method} {path}")

    def _took_effect(self, order_id: str, effect: str) -> None:
        self.effects[order_id].append(effect)

    def _reserve(self, sent: Mapping[str, Any], order_id: str) -> Any:
        if order_id.startswith(AWAY) and order_id not in self.open:
            raise Problem(503, "away", "Nobody is there.", final=False)
        if order_id.startswith(OUT_OF_STOCK):
            _refuse("out-of-stock")
        if self.stock.get(order_id) == "released":
            _refuse("reservation-released")
        if order_id not in self.stock:
            self.stock[order_id] = "held"
            self._took_effect(order_id, "reserve")
        return {"order_id": order_id, "attempt": sent["attempt"], "status": self.stock[order_id]}

    def _release(self, _sent: Mapping[str, Any], order_id: str) -> None:
        if self.stock.get(order_id) == "held":
            self._took_effect(order_id, "release")
        self.stock[order_id] = "released"

    def _execute(self, sent: Mapping[str, Any], order_id: str) -> Any:
        if order_id.startswith(NOT_HELD) or self.stock.get(order_id) != "held":
            _refuse("not-reserved")
        if order_id not in self.executed:
            self.executed.append(order_id)
        return {"order_id": order_id, "attempt": sent["attempt"]}

    def _charge(self, sent: Mapping[str, Any], order_id: str) -> Any:
        if order_id.startswith(NO_CREDIT):
            _refuse("card-unknown")
        payment, new = self.ledger.request(PaymentRequest.model_validate(sent), webhook_url="")
        if new:
            self._took_effect(order_id, "charge")
        return payment.view()

    def _void(self, sent: Mapping[str, Any], order_id: str) -> Any:
        if order_id.startswith(NO_VOID) and order_id not in self.open:
            _refuse("void-unknown")
        if self.ledger.void(order_id, int(sent["attempt"])) is not None:
            self._took_effect(order_id, "void")
        return {"status": "voided"}

    def _payments(self, _sent: Mapping[str, Any], order_id: str) -> Any:
        return {"payments": [payment.view() for payment in self.ledger.find(order_id=order_id)]}

    def _payment(self, sent: Mapping[str, Any], _order_id: str) -> Any:
        return self.ledger.get(sent["payment_id"]).view()

    def _refund(self, sent: Mapping[str, Any], order_id: str) -> Any:
        if self.ledger.refund(sent["payment_id"], None):
            self._took_effect(order_id, "refund")
        return self.ledger.get(sent["payment_id"]).view()

    def _ship(self, _sent: Mapping[str, Any], order_id: str) -> Any:
        if not (parcels := self.fleet.find(order_id)):
            parcels = [self.fleet.create(order_id)]
            self._took_effect(order_id, "ship")
        parcel = parcels[0]
        if parcel.status == "cancelled":
            _refuse("order-cancelled")
        return _shipment(order_id, parcel)

    def _shipment(self, _sent: Mapping[str, Any], order_id: str) -> Any:
        if not (parcels := self.fleet.find(order_id)):
            raise Problem(404, "shipment-unknown", "There is no shipment of this order.", final=False)
        return _shipment(order_id, parcels[0])

    def _recall(self, _sent: Mapping[str, Any], order_id: str) -> Any:
        if self.fleet.cancel(order_id):
            self._took_effect(order_id, "recall")
        return {"order_id": order_id, "status": "cancelled"}

    def _hear(self, _sent: Mapping[str, Any], _order_id: str) -> None:
        """Take a notice."""

    def _tell(self, sent: Mapping[str, Any], order_id: str) -> None:
        status = sent["data"]["status"]
        if sent["id"] not in [event_id for event_id, _ in self.told[order_id]]:
            self.told[order_id].append((sent["id"], status))
        if status == "shipped" and self.stock.get(order_id) == "held":
            self.stock[order_id] = "sold"


_ORDER = "(?P<order_id>[^/]+)"
_PAYMENT = "(?P<payment_id>[^/]+)"
_ROUTES = (
    ("reserve", "PUT", f"/reservations/{_ORDER}", Outside._reserve),
    ("release", "DELETE", f"/reservations/{_ORDER}", Outside._release),
    ("execute", "POST", f"/checkouts/{_ORDER}/executed", Outside._execute),
    ("charge", "POST", "/payments", Outside._charge),
    ("void", "POST", "/payments/void", Outside._void),
    ("look", "GET", "/payments", Outside._payments),
    ("look", "GET", f"/payments/{_PAYMENT}", Outside._payment),
    ("refund", "POST", f"/payments/{_PAYMENT}/refund", Outside._refund),
    ("ship", "POST", "/shipments", Outside._ship),
    ("look", "GET", f"/shipments/{_ORDER}", Outside._shipment),
    ("recall", "POST", f"/shipments/{_ORDER}/cancel", Outside._recall),
    ("tell", "POST", "/events", Outside._tell),
    ("notify", "POST", f"/notices/{_ORDER}", Outside._hear),
)


def _shipment(order_id: str, parcel: Parcel) -> Mapping[str, Any]:
    return {
        "shipment_id": parcel.parcel_id,
        "order_id": order_id,
        "carrier": "simulated-express",
        "tracking_number": parcel.tracking_number,
        "status": parcel.status,
    }


def _refuse(code: str) -> NoReturn:
    raise Problem(409, code, f"We say {code}.")
