"""The client of the payment processor: request, void by order and attempt, list, refund; one try per call."""

from dataclasses import dataclass
from typing import Literal
from urllib.parse import quote

from pydantic import BaseModel, ConfigDict, Field

from services.chassis.errors import RemoteRefused, RemoteUnknown
from services.chassis.outbound.http import Answer, ServiceClient
from services.contracts.money import Money
from services.contracts.orchestrator import PlacedOrder
from services.orchestrator.clients.answers import read

SERVICE = "payment"


class _Foreign(BaseModel):
    """The body of an answer of a foreign service: unknown fields are ignored."""

    model_config = ConfigDict(frozen=True, extra="ignore")


class PaymentRequested(_Foreign):
    """The processor has taken the request and will answer by webhook."""

    payment_id: str = Field(min_length=1, max_length=255)


class Payment(_Foreign):
    """What the processor has done with one payment, in minor units of its currency."""

    payment_id: str = Field(min_length=1, max_length=255)
    order_id: str
    attempt: int
    captured_minor: int = Field(ge=0)
    refunded_minor: int = Field(ge=0)

    @property
    def owed_minor(self) -> int:
        """What was captured and not yet given back."""
        return self.captured_minor - self.refunded_minor


class _Voided(_Foreign):
    status: Literal["voided"]
    order_id: str | None = None
    attempt: int | None = None


class KnownRequest(_Foreign):
    """A payment request as the processor lists it, with its awakeable, and whether it was voided."""

    payment_id: str = Field(min_length=1, max_length=255)
    order_id: str
    attempt: int
    awakeable_id: str
    voided: bool


class _Payments(_Foreign):
    payments: tuple[Payment, ...]


class _KnownRequests(_Foreign):
    payments: tuple[KnownRequest, ...]


class PaymentOrder(BaseModel):
    """The body of a payment request."""

    model_config = ConfigDict(frozen=True)

    awakeable_id: str
    order_id: str
    attempt: int
    amount: Money
    payment_token: str
    webhook_url: str


@dataclass(frozen=True, slots=True)
class PaymentClient:
    """Calls to the processor; it sends results to `webhook_url`."""

    http: ServiceClient
    webhook_url: str

    async def request(
        self,
        placed: PlacedOrder,
        awakeable_id: str,
        *,
        key: str,
        deadline: float,
        acting_user: str | None = None,
    ) -> PaymentRequested:
        """Ask for the order's total; the result comes by webhook to `awakeable_id`."""
        answer = await self.http.request(
            "POST",
            "/payments",
            body=PaymentOrder(
                awakeable_id=awakeable_id,
                order_id=placed.order_id,
                attempt=placed.attempt,
                amount=placed.total,
                payment_token=placed.payment_token,
                webhook_url=self.webhook_url,
            ),
            key=key,
            deadline=deadline,
            acting_user=acting_user,
        )
        return read(PaymentRequested, answer, service=SERVICE)

    async def requests(self, order_id: str, attempt: int, *, deadline: float) -> tuple[KnownRequest, ...]:
        """Return the requests of an attempt that the processor has."""
        answer = await self._list(order_id, attempt, deadline=deadline)
        listed = read(_KnownRequests, answer, service=SERVICE).payments
        return tuple(known for known in listed if known.order_id == order_id and known.attempt == attempt)

    async def _list(self, order_id: str, attempt: int, *, deadline: float) -> Answer:
        """List the payments of an attempt; a processor that knows no attempts lists all payments of the order."""
        of_it = {"order_id": order_id, "attempt": str(attempt)}
        return await self.http.request("GET", "/payments", params=of_it, deadline=deadline)

    async def void(self, order_id: str, attempt: int, *, key: str, deadline: float) -> bool:
        """Void by order and attempt, which also refuses later payments; False if money was captured already."""
        try:
            answer = await self.http.request(
                "POST", "/payments/void", body={"order_id": order_id, "attempt": attempt}, key=key, deadline=deadline
            )
        except RemoteRefused as refusal:
            if refusal.code == "captured":
                return False
            raise
        voided = read(_Voided, answer, service=SERVICE)
        if voided.order_id not in (None, order_id) or voided.attempt not in (None, attempt):
            raise _about_another(answer)
        return True

    async def captured(self, order_id: str, attempt: int, *, deadline: float) -> tuple[Payment, ...]:
        """Return the captured payments of an attempt that could not be voided; RemoteUnknown if none is listed."""
        answer = await self._list(order_id, attempt, deadline=deadline)
        listed = read(_Payments, answer, service=SERVICE).payments
        ours = [payment for payment in listed if payment.order_id == order_id and payment.attempt == attempt]
        captured = tuple(payment for payment in ours if payment.captured_minor > 0)
        if not captured:
            raise RemoteUnknown(
                f"{SERVICE} has captured money and lists none among {len(ours)} payments of the attempt",
                service=SERVICE,
            )
        return captured

    async def get(self, payment_id: str, *, deadline: float) -> Payment:
        """One payment, by the processor's id."""
        answer = await self.http.request("GET", _path(payment_id), deadline=deadline)
        return _read_payment(answer, payment_id)

    async def refund(self, payment: Payment, *, deadline: float) -> None:
        """Refund all that was captured. The key derives from the payment, so that it is refunded once.

        It counts as refunded only if the payment has nothing left to refund, whatever the status of the answer is.
        """
        key = f"refund:{payment.payment_id}"
        try:
            answer = await self.http.request("POST", f"{_path(payment.payment_id)}/refund", key=key, deadline=deadline)
        except RemoteRefused:
            if (await self.get(payment.payment_id, deadline=deadline)).owed_minor > 0:
                raise
            return
        owed_minor = _read_payment(answer, payment.payment_id).owed_minor
        if owed_minor > 0:
            raise RemoteUnknown(
                f"{SERVICE} answered {answer.status} to a refund and owes {owed_minor} all the same", service=SERVICE
            )


def _path(payment_id: str) -> str:
    """Return where a payment is, whatever characters the processor's id has."""
    return f"/payments/{quote(payment_id, safe='')}"


def _read_payment(answer: Answer, payment_id: str) -> Payment:
    payment = read(Payment, answer, service=SERVICE)
    if payment.payment_id != payment_id:
        raise _about_another(answer)
    return payment


def _about_another(answer: Answer) -> RemoteUnknown:
    return RemoteUnknown(
        f"{SERVICE} answered {answer.status} about another payment", service=SERVICE, status=answer.status
    )
