"""One order's run through a path, with crashes: driven by its customer, its processor and its administrators."""

import itertools
import json
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any, TypeVar

import asyncpg

from services.chassis.postgres.errors import is_transient
from services.contracts.money import Money
from services.contracts.orchestrator import PlacedOrder
from services.contracts.session import Address, OrderItem
from services.orchestrator.api import payment_signals
from services.orchestrator.engine import CannotCancel, CannotOperate, Operations, StartRequest
from services.orchestrator.workflows import ADMIN_APPROVAL, PaymentCaptured
from services.orchestrator.workflows.order import order
from tests.support.events import Crash
from tests.support.sweep_paths import APPROVAL, DELIVERY, PAYMENT, RETRY, Path
from tests.support.sweep_points import Recorder, Strike
from tests.support.sweep_process import LEASE_S, RELAY_LEASE_S, Ground, Process
from tests.support.sweep_world import PRICE

ROUNDS_MAX = 80
AWHILE = timedelta(seconds=1)
STANDS = """
SELECT id, phase, run_state, outcome, error_code, due_at, waits FROM sagas WHERE key = $1 AND workflow = 'order'
"""
LIVE = "SELECT workflow, phase, run_state, due_at FROM sagas WHERE phase <> 'ended'"
UNSENT = "SELECT count(*) FROM outbox"
_numbers = itertools.count(1)

T = TypeVar("T")


@dataclass
class Run:
    """One order, and what has happened to it."""

    ground: Ground
    path: Path
    recorder: Recorder
    order_id: str
    saga_id: str = ""
    cancelled: bool = False
    late_told: bool = False
    process: Process = field(init=False)

    def __post_init__(self) -> None:
        self.process = self._life()

    @classmethod
    def of(cls, ground: Ground, path: Path, strikes: Sequence[Strike] = ()) -> "Run":
        """Begin a new order."""
        return cls(ground, path, Recorder(strikes, path.deaths), f"{path.prefix}-{next(_numbers)}")

    async def drive(self) -> None:
        """Take the order to its end, whatever dies on the way, and deliver what it has to say."""
        try:
            self.saga_id = (await self.ask(lambda operations: operations.start(self._request()))).saga_id
            for _ in range(ROUNDS_MAX):
                if self.path.cancel_at != "start" or self.cancelled:
                    await self._settle()
                if await self._act(await self.stands()):
                    break
            else:
                raise AssertionError(f"{self.order_id} does not end: {dict(await self.stands())}")
            await self._deliver()
        finally:
            await self.process.bury()

    def again(self) -> None:
        """Begin another life, in which nothing more is struck."""
        self.recorder.strikes = ()
        self.process = Process(self.ground, lambda _event, _facts: None)

    async def stands(self) -> asyncpg.Record:
        """Where the order's saga stands."""
        (row,) = await self.ground.look.fetch(STANDS, self.order_id)
        return row

    async def ask(self, call: Callable[[Operations], Awaitable[T]]) -> T:
        """Ask as a stubborn client: whenever there is no answer, again."""
        while True:
            try:
                return await call(self.process.engine.operations)
            except Crash:
                await self._revive()
            except Exception as error:
                if not is_transient(error):
                    raise

    async def _settle(self) -> None:
        """Run whatever is due until nothing is, in as many lives as that takes."""
        while True:
            try:
                await self.process.work()
            except ConnectionError:  # a claim was not answered: what it has claimed comes free when the lease ends
                self.ground.clock.advance(LEASE_S + 1)
                continue
            if not self.process.died.is_set():
                return
            await self._revive()

    async def _revive(self) -> None:
        gave_back = self.process.gave_back
        await self.process.bury()
        if not gave_back:
            self.ground.clock.advance(LEASE_S + 1)
        stopped = self.process.stopping.is_set()
        self.process = self._life()
        if stopped:
            self.process.stops_during = None

    def _life(self) -> Process:
        process = Process(self.ground, self.recorder.listen(lambda: self.process))
        process.stops_during = self.path.stops_during
        return process

    async def _act(self, stands: asyncpg.Record) -> bool:
        """Do what the outside does where the order stands; True once nothing is left to do."""
        if stands["phase"] == "ended":
            if self.path.payment == "late" and not self.late_told:
                self.late_told = True
                await self._tell_payment()
                return False
            return await self._nothing_lives()
        waits = {wait[0] for wait in json.loads(stands["waits"] or "[]")}
        place = _place(waits)
        if self.path.cancel_at and self.path.cancel_at in {place, "start"} and not self.cancelled:
            await self._cancel()
        elif stands["run_state"] == "stuck":
            self.ground.outside.open.add(self.order_id)
            with suppress(CannotOperate):  # it was retried already, and that answer was lost
                await self.ask(lambda ops: ops.retry(self.saga_id, by="ann", reason="they are back"))
        elif place == PAYMENT and self.path.payment in {"captured", "declined"}:
            await self._tell_payment()
        elif place == APPROVAL and self.path.decision is not None:
            value = {"approved": self.path.decision}
            await self.ask(lambda ops: ops.resolve_promise(self.saga_id, ADMIN_APPROVAL, value, by="ann"))
        else:
            self._pass_time(stands["due_at"], place)
        return False

    def _pass_time(self, due_at: Any, place: str) -> None:
        if place == PAYMENT and self.path.payment == "late":
            self._capture()
        clock = self.ground.clock
        clock.advance(max(due_at - clock.now(), timedelta()) if due_at is not None else AWHILE)

    async def _nothing_lives(self) -> bool:
        """Whether every saga has ended; if not, let time pass for it."""
        live = await self.ground.look.fetch(LIVE)
        for row in live:
            self._pass_time(row["due_at"], "")
        return not live

    async def _cancel(self) -> None:
        if self.path.payment == "late":
            self._capture()
        try:
            await self.ask(lambda ops: ops.cancel(self.saga_id, by="alice", reason="changed my mind"))
        except CannotCancel as refusal:
            stands = await self.stands()
            if not self.path.refused_cancel and stands["outcome"] != "cancelled":
                raise AssertionError(f"a cancel was refused: {refusal}") from refusal
        else:
            assert not self.path.refused_cancel, "cancelled past the point of no return"
        self.cancelled = True

    def _capture(self) -> None:
        for payment in self.ground.outside.ledger.find(order_id=self.order_id):
            self.ground.outside.ledger.capture(payment.payment_id)

    async def _tell_payment(self) -> None:
        (payment,) = self.ground.outside.ledger.find(order_id=self.order_id)
        facts = {"order_id": self.order_id, "amount_minor": PRICE, "currency": "USD"}
        if self.path.payment == "declined":
            self.ground.outside.ledger.decline(payment.payment_id)
            await self.ask(
                lambda ops: payment_signals.settle_declined(
                    ops,
                    payment.awakeable_id,
                    payment_id=payment.payment_id,
                    code="card_declined",
                    message="",
                    by="processor",
                    facts=facts,
                )
            )
            return
        self._capture()
        money = PaymentCaptured(
            payment_id=payment.payment_id,
            transaction_id="txn_1",
            amount=Money(amount_minor=PRICE, currency="USD"),
        )
        await self.ask(
            lambda ops: payment_signals.settle_captured(ops, payment.awakeable_id, money, by="processor", facts=facts)
        )

    async def _deliver(self) -> None:
        """Empty the outbox, in as many lives as that takes."""
        for _ in range(ROUNDS_MAX):
            await self.process.deliver()
            if self.process.died.is_set():
                await self._revive()
            elif not await self.ground.look.fetchval(UNSENT):
                return
            self.ground.clock.advance(RELAY_LEASE_S + 1)
        raise AssertionError(f"{self.order_id} cannot say all that it has to say")

    def _request(self) -> StartRequest:
        placed = PlacedOrder(
            order_id=self.order_id,
            attempt=1,
            user_id="alice",
            items=(OrderItem(sku="book", name="The book", quantity=1, unit_price=_PRICE),),
            total=_PRICE,
            shipping_address=_HOME,
            payment_token="tok_manual",
        )
        return StartRequest(
            workflow=order.name, key=self.order_id, input=placed.model_dump(mode="json"), subject="alice"
        )


_PRICE = Money(amount_minor=PRICE, currency="USD")
_HOME = Address(name="Ada", street="1 Main St", city="London", postal_code="N1 9GU", country="GB")


def _place(waits: set[str]) -> str:
    """Name what the order waits for."""
    if "awakeable" in waits:
        return PAYMENT
    if "promise" in waits:
        return APPROVAL
    if "retry" in waits:
        return RETRY
    return DELIVERY if waits else ""
