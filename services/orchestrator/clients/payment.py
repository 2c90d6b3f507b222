"""The payment processor as steps see it: request, void by (order, attempt), list and refund; one try per call."""

from dataclasses import dataclass

from pydantic import BaseModel, ConfigDict, Field

from services.chassis.errors import RemoteRefused, RemoteUnknown
from services.chassis.http import ServiceClient
from services.contracts.money import Money
from services.contracts.orchestrator import PlacedOrder
from services.orchestrator.clients.answers import read

SERVICE = "payment"


class _Foreign(BaseModel):
    """What a service that is not ours says: what we do not know is passed over."""

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


class KnownRequest(_Foreign):
    """A request that the processor has taken: for which callback, and whether it was voided since."""

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
    """Calls to the processor; `webhook_url` is where it shall answer."""

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
        """The requests of an attempt that the processor has taken."""
        answer = await self.http.request("GET", "/payments", params={"order_id": order_id}, deadline=deadline)
        listed = read(_KnownRequests, answer, service=SERVICE).payments
        return tuple(known for known in listed if known.order_id == order_id and known.attempt == attempt)

    async def void(self, order_id: str, attempt: int, *, key: str, deadline: float) -> bool:
        """Void by our own reference, which refuses a later payment too; False if money was captured already."""
        try:
            await self.http.request(
                "POST", "/payments/void", body={"order_id": order_id, "attempt": attempt}, key=key, deadline=deadline
            )
        except RemoteRefused as refusal:
            if refusal.code == "captured":
                return False
            raise
        return True

    async def captured(self, order_id: str, attempt: int, *, deadline: float) -> tuple[Payment, ...]:
        """The payments of an attempt that is not voided because money was captured; RemoteUnknown if none shows any."""
        answer = await self.http.request("GET", "/payments", params={"order_id": order_id}, deadline=deadline)
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
        answer = await self.http.request("GET", f"/payments/{payment_id}", deadline=deadline)
        return read(Payment, answer, service=SERVICE)

    async def refund(self, payment: Payment, *, deadline: float) -> None:
        """Give back all that is captured; the key names the payment, so that all who refund it ask for one refund."""
        try:
            await self.http.request(
                "POST", f"/payments/{payment.payment_id}/refund", key=f"refund:{payment.payment_id}", deadline=deadline
            )
        except RemoteRefused:
            # Whatever the refusal is called: only a payment with nothing left to give back counts as refunded.
            if (await self.get(payment.payment_id, deadline=deadline)).owed_minor > 0:
                raise
