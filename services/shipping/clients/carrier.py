"""The client of the carrier: parcels are made under one key per order, found and cancelled by reference."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final, TypeVar

from tenacity import AsyncRetrying, RetryCallState, retry_if_exception_type, stop_after_attempt, wait_exponential_jitter

from services.chassis.clock import Clock
from services.chassis.errors import KeyReused, RemoteError, RemoteMisconfigured, RemoteRefused, RemoteUnknown
from services.chassis.outbound.http import Answer, ServiceClient
from services.chassis.postgres.texts import storable
from services.contracts.shipping import CreateShipment
from services.shipping.domain.shipment import Parcel

TRIES: Final = 4
FIRST_PAUSE_S: Final = 0.1
LONGEST_PAUSE_S: Final = 2.0
MISCONFIGURED_RETRY_S: Final = 5.0
_MAX_TEXT: Final = 255

T = TypeVar("T")

_backoff = wait_exponential_jitter(multiplier=FIRST_PAUSE_S, max=LONGEST_PAUSE_S, jitter=FIRST_PAUSE_S)


@dataclass(frozen=True, slots=True)
class Registered:
    """The carrier has the parcel."""

    parcel: Parcel


@dataclass(frozen=True, slots=True)
class Refused:
    """The carrier refuses the parcel; `uncertain` if an earlier try may have made one nevertheless.

    It is uncertain too if our key was used with other content before, for instance before a restore of our database.
    The customer sees the `reason`; the `code` is the carrier's, for logs.
    """

    code: str
    reason: str
    uncertain: bool


@dataclass(frozen=True, slots=True)
class Unreachable:
    """No try was answered, so a parcel may or may not be there; `misconfigured`: the carrier does not let us in."""

    retry_after_s: float
    misconfigured: bool = False


Outcome = Registered | Refused | Unreachable


class ParcelDelivered(Exception):
    """The parcel was delivered, so it cannot be cancelled."""


class CarrierClient:
    """Calls the carrier; an order's id is the reference of its parcel."""

    def __init__(self, service: ServiceClient, *, clock: Clock, timeout_s: float) -> None:
        self._service = service
        self._clock = clock
        self._timeout_s = timeout_s

    async def create(self, wanted: CreateShipment) -> Outcome:
        """Create the parcel, with short retries; if none is answered, look whether the parcel exists."""
        unanswered = 0

        async def attempt() -> Parcel:
            nonlocal unanswered
            try:
                answer = await self._call(
                    "POST",
                    "/parcels",
                    body={
                        "reference": wanted.order_id,
                        "address": wanted.address.model_dump(),
                        "items": [item.model_dump() for item in wanted.items],
                    },
                    key=f"shipment:{wanted.order_id}",
                )
                return self._parcel(answer.data, wanted.order_id)
            except RemoteUnknown:
                unanswered += 1
                raise

        try:
            return Registered(await self._with_retries(attempt))
        except RemoteRefused as refusal:
            uncertain = unanswered > 0 or refusal.code == KeyReused.code
            return Refused(refusal.code, refusal.message[:1_000], uncertain=uncertain)
        except RemoteUnknown as error:
            found = await self.find(wanted.order_id)
            return Registered(found) if found is not None else Unreachable(error.retry_after_s or 1)
        except RemoteMisconfigured:
            return Unreachable(MISCONFIGURED_RETRY_S, misconfigured=True)

    async def find(self, reference: str) -> Parcel | None:
        """Look for a parcel by reference, once; None if none was found, or the carrier did not answer."""
        try:
            answer = await self._call("GET", "/parcels", params={"reference": reference})
            parcels = answer.data["parcels"]
            alive = [parcel for parcel in parcels if _is_of(reference, parcel) and parcel["status"] != "cancelled"]
            return self._parcel(alive[0], reference) if alive else None
        except (RemoteError, LookupError, TypeError):
            return None

    async def cancel(self, reference: str, *, epoch: int) -> None:
        """Make sure that there is no parcel of this reference and never will be, with short retries.

        A cancel of another `epoch` has another key, so that the carrier does not repeat an earlier answer.
        Raises ParcelDelivered if it was delivered, another RemoteError if the carrier did not confirm.
        """

        async def attempt() -> None:
            answer = await self._call(
                "POST", "/parcels/cancel", body={"reference": reference}, key=f"cancel:{reference}:{epoch}"
            )
            if not _is_of(reference, answer.data) or answer.data.get("status") != "cancelled":
                raise RemoteUnknown("the carrier's answer is no cancellation of ours", service=self._service.service)

        try:
            await self._with_retries(attempt)
        except RemoteRefused as refusal:
            if refusal.code == "already-delivered":
                raise ParcelDelivered from refusal
            # a refusal that we do not know leaves the parcel where it is: nothing is settled by it
            raise RemoteUnknown(refusal.message, service=self._service.service, status=refusal.status) from refusal

    async def _call(
        self,
        method: str,
        path: str,
        *,
        body: Mapping[str, Any] | None = None,
        key: str | None = None,
        params: Mapping[str, Any] | None = None,
    ) -> Answer:
        deadline = self._clock.monotonic() + self._timeout_s
        return await self._service.request(method, path, body=body, key=key, params=params, deadline=deadline)

    async def _with_retries(self, attempt: Callable[[], Awaitable[T]]) -> T:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(TRIES),
            wait=_pause_s,
            retry=retry_if_exception_type(RemoteUnknown),
            sleep=self._clock.sleep,
            reraise=True,
        )
        return await retrying(attempt)

    def _parcel(self, data: Any, reference: str) -> Parcel:
        """Read the parcel of a reference; RemoteUnknown for an answer that is malformed, or about another one."""
        if not _is_of(reference, data):
            data = {}
        status = data.get("status")
        parcel_id, tracking_number = data.get("parcel_id"), data.get("tracking_number")
        carrier = data.get("carrier", self._service.service)
        if not (_is_text(parcel_id) and _is_text(tracking_number) and _is_text(carrier) and _is_text(status)):
            raise RemoteUnknown("the carrier's answer is not a parcel", service=self._service.service)
        if status == "cancelled":
            raise RemoteRefused("reference-cancelled", "was cancelled", service=self._service.service, status=409)
        return Parcel(parcel_id, carrier, tracking_number, delivered=status == "delivered")


def _is_of(reference: str, said: Any) -> bool:
    """Whether an answer, or a parcel in it, may be about this reference: it is an object, and names no other."""
    return isinstance(said, dict) and bool(said.get("reference", reference) == reference)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and 0 < len(value) <= _MAX_TEXT and storable(value)


def _pause_s(state: RetryCallState) -> float:
    """Wait as the backoff says, and longer if the carrier asks for it, within our own patience."""
    error = state.outcome.exception() if state.outcome is not None else None
    asked_s = error.retry_after_s if isinstance(error, RemoteUnknown) else None
    return max(_backoff(state), min(asked_s or 0, LONGEST_PAUSE_S))
