"""The clients that steps call out with. Each call is tried once; the engine retries steps durably."""

from dataclasses import dataclass
from datetime import timedelta

from services.orchestrator.clients.notifier import LogNotifier, MailNotifier, MailServer, Notifier
from services.orchestrator.clients.payment import Payment, PaymentClient, PaymentRequested
from services.orchestrator.clients.session import SessionClient
from services.orchestrator.clients.shipping import ShippingClient

__all__ = [
    "Clients",
    "LogNotifier",
    "MailNotifier",
    "MailServer",
    "Notifier",
    "OrderTerms",
    "Payment",
    "PaymentClient",
    "PaymentRequested",
    "SessionClient",
    "ShippingClient",
]


@dataclass(frozen=True, slots=True)
class OrderTerms:
    """The waiting times of an order; an order keeps those that it started with."""

    payment_timeout: timedelta
    approval_timeout: timedelta
    approval_reminder: timedelta
    delivery_window: timedelta


@dataclass(frozen=True, slots=True)
class Clients:
    """Everything that a step may reach, injected by `app.py`."""

    session: SessionClient
    shipping: ShippingClient
    payment: PaymentClient
    notifier: Notifier
    terms: OrderTerms
