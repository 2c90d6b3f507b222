"""Handing an order to the carrier, and cancelling it: never two parcels for one order, and none after a cancel.

No transaction is open during a call to the carrier. A create holds the lease of the order's row. If there must be no
parcel, the row says so first (`refused` or `cancelled`, with `undo_owed`); then the carrier cancels by reference.
"""

from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from typing import Final, NoReturn

from services.chassis import audit, ids
from services.chassis.clock import Clock
from services.chassis.errors import InFlight, RemoteError, RemoteMisconfigured, RemoteUnknown
from services.chassis.inbound.idempotency import Claiming
from services.chassis.logs import get_logger
from services.chassis.metrics import Metrics
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.chassis.security.fingerprints import Fingerprints
from services.contracts.shipping import CreateShipment
from services.shipping.clients.carrier import (
    MISCONFIGURED_RETRY_S,
    CarrierClient,
    Outcome,
    ParcelDelivered,
    Refused,
    Registered,
    Unreachable,
)
from services.shipping.domain.errors import AlreadyDelivered, CarrierMisconfigured, CarrierRejected, CarrierUnavailable
from services.shipping.domain.shipment import Next, StoredShipment, next_of_create, refusal_of
from services.shipping.store import shipments

SWEEP_LIMIT: Final = 20
SWEEP_AGE_S: Final = 30.0
MISCONFIGURED: Final = "carrier-misconfigured"

_log = get_logger("shipping.dispatch")


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to call the carrier until the lease expires; `uncertain`: an earlier try may have made a parcel."""

    epoch: int
    uncertain: bool


@dataclass(frozen=True, slots=True)
class Made:
    """The shipment of an order; `created` if this request made it."""

    shipment: StoredShipment
    created: bool


class Dispatch:
    """Creates and cancels shipments; it holds no state, any number of replicas may run."""

    def __init__(
        self,
        *,
        database: Database,
        clock: Clock,
        carrier: CarrierClient,
        metrics: Metrics,
        lease_s: float,
        fingerprints: Fingerprints,
    ) -> None:
        self._database = database
        self._clock = clock
        self._carrier = carrier
        self._metrics = metrics
        self._lease_s = lease_s
        self._fingerprints = fingerprints
        metrics.expect_alarms(MISCONFIGURED)

    async def create(self, wanted: CreateShipment, claim: Claiming) -> Made:
        """Return the shipment of the order, made now or before; raises if the carrier refuses or does not answer.

        `claim` claims the idempotency key in the transaction that begins the work.
        """
        try:
            return await self._create(wanted, claim)
        except AlreadyDelivered:  # the parcel that had to be cancelled was delivered in the meantime
            shipment = await self.find(wanted.order_id)
            if shipment is None:
                raise
            return Made(shipment, created=False)

    async def _create(self, wanted: CreateShipment, claim: Claiming) -> Made:
        entered = await self._enter(wanted, claim)
        if isinstance(entered, StoredShipment):
            return Made(entered, created=False)
        _log.info("shipment.requested", order_id=wanted.order_id, attempt=wanted.attempt)
        outcome = await self._call(wanted, entered)
        if isinstance(outcome, Registered):
            return await self._registered(wanted.order_id, entered, outcome)
        if isinstance(outcome, Refused):
            await self._refused(wanted.order_id, entered, outcome)
        return await self._unreachable(wanted.order_id, entered, outcome)

    async def cancel(self, order_id: str) -> None:
        """Make sure that the order has no parcel and never gets one, whether it was shipped or not."""
        async with self._database.once() as conn:
            epoch = await shipments.leave_tombstone(conn, order_id, now=self._clock.sql_now())
        if epoch is None:
            raise AlreadyDelivered
        await self._undo(order_id, epoch)
        _log.info("shipment.cancelled", order_id=order_id)

    async def find(self, order_id: str) -> StoredShipment | None:
        """Return what is known of the order."""
        async with self._database.autocommit() as conn:
            return await shipments.find(conn, order_id, now=self._clock.sql_now())

    async def sweep(self, *, stopping: Callable[[], bool] = lambda: False) -> float:
        """Repeat cancels that a replica has left unconfirmed; return the seconds until the next sweep.

        It ends early when `stopping`: a carrier that does not answer could hold it up for minutes.
        """
        async with self._database.once() as conn:
            owed = await shipments.sweep_owed(conn, age_s=SWEEP_AGE_S, limit=SWEEP_LIMIT, now=self._clock.sql_now())
        for order_id, epoch in owed:
            if stopping():
                break
            try:
                await self._undo(order_id, epoch)
            except (CarrierUnavailable, CarrierMisconfigured, AlreadyDelivered) as error:
                _log.warning("shipment.undo_owed", order_id=order_id, reason=error.message)
        return 0 if len(owed) == SWEEP_LIMIT else SWEEP_AGE_S

    async def _enter(self, wanted: CreateShipment, claim: Claiming) -> StoredShipment | Claim:
        """Take the lease in one transaction with the idempotency key, or return the shipment that exists."""
        now = self._clock.sql_now()
        fingerprints = self._fingerprints.of(wanted.model_dump_json().encode())
        async with self._database.begin() as conn:
            await claim(conn)
            first = await shipments.open_leased(
                conn,
                wanted.order_id,
                shipment_id=ids.new_id("shp"),
                attempt=wanted.attempt,
                fingerprint=fingerprints[0],
                lease_s=self._lease_s,
                now=now,
            )
            if first is not None:
                return Claim(first, uncertain=False)
            shipment = await shipments.lock(conn, wanted.order_id, now=now)
            todo = next_of_create(shipment, fingerprints)
            if todo is Next.CREATE:
                return Claim(*await shipments.take_lease(conn, wanted.order_id, lease_s=self._lease_s, now=now))
            if todo is Next.WAIT:
                raise InFlight("This shipment is being created by another request.")
            if todo is Next.UNDO:
                epoch = await shipments.owe_undo(conn, wanted.order_id, now=now)
        if todo is Next.UNDO:
            await self._undo(wanted.order_id, epoch)
            raise refusal_of(shipment)
        return shipment

    async def _call(self, wanted: CreateShipment, claim: Claim) -> Outcome:
        """Create the parcel; if an earlier try was not answered, first look whether it made one."""
        found = await self._carrier.find(wanted.order_id) if claim.uncertain else None
        return Registered(found) if found is not None else await self._carrier.create(wanted)

    async def _registered(self, order_id: str, claim: Claim, outcome: Registered) -> Made:
        """Store the parcel, unless another request has changed the row in the meantime."""
        async with self._database.once() as conn:
            shipment = await shipments.register(
                conn, order_id, epoch=claim.epoch, parcel=outcome.parcel, now=self._clock.sql_now()
            )
        if shipment is None:
            return Made(await self._overtaken(order_id), created=False)
        _log.info("shipment.registered", order_id=order_id, tracking_number=outcome.parcel.tracking_number)
        return Made(shipment, created=True)

    async def _overtaken(self, order_id: str) -> StoredShipment:
        """Return the shipment as another request has changed it; after a cancel, our parcel is cancelled too."""
        now = self._clock.sql_now()
        async with self._database.begin() as conn:
            shipment = await shipments.lock(conn, order_id, now=now)
            owed = await _owe_anew(conn, shipment, now=now)
        if owed is not None:
            await self._undo(order_id, owed)
            _log.info("shipment.failed", order_id=order_id, reason="cancelled while it was made", final=True)
            raise refusal_of(shipment)
        if shipment.parcel is None:
            raise InFlight("This shipment is being created by another request.")
        return shipment

    async def _refused(self, order_id: str, claim: Claim, outcome: Refused) -> NoReturn:
        """Store the refusal, and raise it; a parcel that an unanswered try may have made is cancelled before."""
        uncertain = claim.uncertain or outcome.uncertain
        async with self._database.begin() as conn:
            epoch = await shipments.refuse(
                conn,
                order_id,
                epoch=claim.epoch,
                refusal=outcome.reason,
                undo_owed=uncertain,
                now=self._clock.sql_now(),
            )
            shipment = await shipments.lock(conn, order_id, now=self._clock.sql_now())
        _log.info("shipment.failed", order_id=order_id, code=outcome.code, reason=outcome.reason, final=True)
        if epoch is None:
            if shipment.status == "cancelled":
                raise refusal_of(shipment)
            raise InFlight("This shipment was taken over by another request.")
        if uncertain:
            await self._undo(order_id, epoch)
        raise CarrierRejected(outcome.reason)

    async def _unreachable(self, order_id: str, claim: Claim, outcome: Unreachable) -> NoReturn:
        """Give the lease back, and raise; after a cancel, a parcel that our call may have made is cancelled too."""
        now = self._clock.sql_now()
        async with self._database.begin() as conn:
            shipment = await shipments.lock(conn, order_id, now=now)
            await shipments.give_back_lease(conn, order_id, epoch=claim.epoch, uncertain=True, now=now)
            owed = await _owe_anew(conn, shipment, now=now)
            if outcome.misconfigured:
                await audit.alarm_once(conn, MISCONFIGURED, subject_id=order_id, now=now)
        if outcome.misconfigured:
            self._metrics.alarm(MISCONFIGURED, order_id=order_id)
        reason = "the carrier does not let us in" if outcome.misconfigured else "the carrier does not answer"
        _log.info("shipment.failed", order_id=order_id, reason=reason, final=False)
        if owed is not None:
            await self._undo(order_id, owed)
            raise refusal_of(shipment)
        why = CarrierMisconfigured if outcome.misconfigured else CarrierUnavailable
        raise why(retry_after_s=outcome.retry_after_s)

    async def _undo(self, order_id: str, epoch: int) -> None:
        """Have the carrier cancel whatever has this reference, and record that the undo of `epoch` is done."""
        try:
            await self._carrier.cancel(order_id, epoch=epoch)
        except ParcelDelivered:
            await self._delivered(order_id)
            raise AlreadyDelivered from None
        except RemoteMisconfigured as error:
            now = self._clock.sql_now()
            async with self._database.begin() as conn:
                await audit.alarm_once(conn, MISCONFIGURED, subject_id=order_id, now=now)
            self._metrics.alarm(MISCONFIGURED, order_id=order_id)
            raise CarrierMisconfigured(retry_after_s=MISCONFIGURED_RETRY_S) from error
        except RemoteError as error:
            _log.warning("shipment.cancel_unconfirmed", order_id=order_id, reason=error.message)
            asked_s = error.retry_after_s if isinstance(error, RemoteUnknown) else None
            raise CarrierUnavailable(retry_after_s=asked_s or 1) from error
        async with self._database.once() as conn:
            await shipments.confirm_undo(conn, order_id, epoch=epoch, now=self._clock.sql_now())

    async def _delivered(self, order_id: str) -> None:
        """Store that the parcel was delivered, once the carrier says which one it is."""
        parcel = await self._carrier.find(order_id)
        if parcel is None:
            raise CarrierUnavailable
        async with self._database.once() as conn:
            await shipments.mark_delivered(
                conn, order_id, parcel=parcel, shipment_id=ids.new_id("shp"), now=self._clock.sql_now()
            )


async def _owe_anew(conn: Connection, shipment: StoredShipment, *, now: datetime | None) -> int | None:
    """Record that a locked shipment without a parcel must be cancelled again; return the epoch, None for any other."""
    if shipment.status not in ("cancelled", "refused"):
        return None
    return await shipments.owe_undo(conn, shipment.order_id, now=now)
