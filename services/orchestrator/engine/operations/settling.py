"""Settling signals: once, under the row lock of the saga; a value that comes too late starts another saga instead."""

from collections import defaultdict
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any
from uuid import UUID

from services.chassis.clock import Clock
from services.chassis.postgres.connection import Connection
from services.chassis.postgres.database import Database
from services.orchestrator.engine.authoring.definition import Registry
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.calls import ChildEnd
from services.orchestrator.engine.model.codec import Codec, canonical
from services.orchestrator.engine.model.errors import (
    EngineError,
    InvalidValue,
    PayloadError,
    UnknownSaga,
    UnknownSignal,
)
from services.orchestrator.engine.model.records import OPEN, PROMISE, Saga, Signal, SignalKind, SignalStatus
from services.orchestrator.engine.model.saga_ids import read_saga_id, saga_of
from services.orchestrator.engine.model.states import FORWARD
from services.orchestrator.engine.operations.presenting import settled_signal
from services.orchestrator.engine.operations.proposals import Proposal, SettleRequest, mismatches, repeats
from services.orchestrator.engine.operations.starting import Starting
from services.orchestrator.engine.operations.views import Settlement
from services.orchestrator.engine.running.active import ActiveSagas
from services.orchestrator.engine.running.batcher import Batcher
from services.orchestrator.engine.store import sagas, signals


class Settling:
    """Settles signals: open ones in batches by one statement, all other cases one by one under the row lock."""

    def __init__(
        self,
        registry: Registry,
        codec: Codec,
        database: Database,
        clock: Clock,
        hooks: EngineHooks,
        starting: Starting,
        active: ActiveSagas,
        on_due: Callable[[], None],
    ) -> None:
        """Take whose signals they are, where they are written, who can run their sagas at once, and whom to tell."""
        self._registry = registry
        self._codec = codec
        self._database = database
        self._clock = clock
        self._hooks = hooks
        self._starting = starting
        self._active = active
        self._on_due = on_due
        self._batcher = Batcher(self._settle_many)

    async def awakeable(self, awakeable_id: str, proposal: Proposal) -> Settlement:
        """Settle an awakeable by its id; UnknownSignal. If it comes too late, start the saga `otherwise`."""
        return await self._settle(SettleRequest(saga_of(awakeable_id), awakeable_id, SignalKind.AWAKEABLE, proposal))

    async def promise(self, saga_id: str, name: str, proposal: Proposal) -> Settlement:
        """Settle a declared promise, also before the saga waits for it; UnknownSaga, UnknownVersion, UnknownSignal."""
        return await self._settle(SettleRequest(read_saga_id(saga_id), name, PROMISE, proposal))

    async def child(self, caller_id: UUID, end: ChildEnd) -> None:
        """Settle the signal of a saga with the end of one it has called; does nothing if it waits no longer."""
        proposal = Proposal(f"saga {end.saga_id}", error=end.error, identity=end.outcome, written=end.output)
        with suppress(UnknownSignal):
            await self._settle(SettleRequest(caller_id, end.saga_id, SignalKind.CHILD, proposal))

    async def _settle(self, request: SettleRequest) -> Settlement:
        return await self._hand(request) or await self._batcher.ask(request)

    async def _hand(self, request: SettleRequest) -> Settlement | None:
        """Hand the signal to its saga if that waits in the memory of this replica; the saga's next flush writes it.

        None if the saga does not wait here, the signal is not open, or the flush failed: the rows decide then.
        """
        run = await self._active.listening_run(request.saga_id)
        if run is None:
            return None
        saga, log = run.saga, run.log
        known = log.signals.get(request.name) or log.awakeables.get(request.name)
        to = signals.Addressee(saga.workflow, saga.version, saga.key, saga.phase)
        proposed = self._settled_unlocked(request, to, known)
        if proposed is None:
            return None
        self._hooks.signal_before(proposed)
        settled = proposed._replace(settled_at=log.now())
        if not await self._active.hand(run, settled).wait_until_written():
            return None
        self._hooks.signal_settled(settled)
        return Settlement("accepted", str(request.saga_id), saga.key, settled_signal(settled))

    async def _settle_many(self, requests: Sequence[SettleRequest]) -> Sequence[Settlement | Exception]:
        """Settle all open signals by one statement; the others, and those that have changed, one by one."""
        plain: dict[signals.Place, Signal] = {}
        answers: dict[int, Settlement | Exception] = {}
        async with self._database.autocommit() as conn:
            known = await self._look_up(conn, requests)
            for index, request in enumerate(requests):
                try:
                    proposed = self._settled_unlocked(request, *known[request.place])
                except EngineError as error:
                    answers[index] = error
                    continue
                if proposed is not None and request.place not in plain:
                    plain[request.place] = proposed
                    self._hooks.signal_before(proposed)
            settled = await self._settle_open(conn, plain)
        for index, request in enumerate(requests):
            saga, _ = known[request.place]
            done = None if index in answers or saga is None else settled.pop(request.place, None)
            if done is not None and saga is not None:
                self._hooks.signal_settled(done)
                answers[index] = Settlement("accepted", str(request.saga_id), saga.key, settled_signal(done))
        return [
            answers[index] if index in answers else await self._settle_one(request)
            for index, request in enumerate(requests)
        ]

    async def _look_up(
        self, conn: Connection, requests: Sequence[SettleRequest]
    ) -> Mapping[signals.Place, tuple[signals.Addressee | None, Signal | None]]:
        """Return the sagas and signals; nothing is read for promises of sagas in memory: their code declares them."""
        here: dict[signals.Place, tuple[signals.Addressee | None, Signal | None]] = {}
        for request in requests:
            saga = self._active.find(request.saga_id) if request.kind is PROMISE else None
            if saga is not None:
                to = signals.Addressee(saga.workflow, saga.version, saga.key, FORWARD)
                here[request.place] = (to, None)
        return here | await signals.look_up(conn, {request.place for request in requests} - here.keys())

    async def _settle_open(
        self, conn: Connection, plain: Mapping[signals.Place, Signal]
    ) -> dict[signals.Place, Signal]:
        """Write the signals that are still open. A saga that waits becomes due.

        A saga that runs in this replica is notified instead, so that it does not suspend for a signal that has come.
        """
        with self._active.residents.expecting({saga_id for saga_id, _ in plain}):
            written = await signals.settle_open(conn, list(plain.values()), now=self._clock.sql_now())
            settled = {place: plain[place]._replace(settled_at=found.at) for place, found in written.items()}
            news: dict[UUID, list[Signal]] = defaultdict(list)
            for (saga_id, _), signal in settled.items():
                news[saga_id].append(signal)
            for saga_id, found in {saga_id: found for (saga_id, _), found in written.items()}.items():
                if found.is_due:
                    self._active.residents.expect_claim(saga_id)
                    self._on_due()
                else:
                    self._active.residents.notify(saga_id, found.epoch, found.signal_no, news[saga_id])
        return settled

    def _settled_unlocked(
        self, request: SettleRequest, saga: signals.Addressee | None, signal: Signal | None
    ) -> Signal | None:
        """Return the settled signal if it looks open without a lock; None if it has to be decided under the lock."""
        if saga is None or saga.phase is not FORWARD:
            return None
        if signal is None:
            definition = self._registry.get(saga.workflow, saga.version)
            if request.kind is not PROMISE or definition is None or request.name not in definition.promises:
                return None
            signal = Signal(request.saga_id, request.name, PROMISE)
        if signal.kind is not request.kind or signal.status is not OPEN:
            return None
        if mismatches(signal, request.proposal.facts):
            return None
        return self._proposed(signal, request.proposal, self._shape(saga, signal))

    async def _settle_one(self, request: SettleRequest) -> Settlement | Exception:
        """Decide one settlement under the row lock of its saga."""
        try:
            async with self._database.begin() as conn:
                saga = await sagas.lock(conn, request.saga_id, now=self._clock.sql_now())
                signal = await signals.get(conn, request.saga_id, request.name)
                if request.kind is PROMISE:
                    signal = self._declared(saga, request, signal)
                elif signal is None:
                    return UnknownSignal()
                settlement, settled = await self._decide(conn, saga, signal, request.proposal)
        except EngineError as error:
            return error
        if settled is not None:
            self._hooks.signal_settled(settled)
            self._active.residents.expect_claim(settled.saga_id)
        if settled is not None or settlement.started is not None:
            self._on_due()
        if settlement.started is not None and settlement.started.created and request.proposal.otherwise is not None:
            self._starting.announce(request.proposal.otherwise)
        return settlement

    def _declared(self, saga: Saga | None, request: SettleRequest, signal: Signal | None) -> Signal:
        """Return a promise, also if it has no row yet; UnknownSaga, UnknownVersion, UnknownSignal."""
        if saga is None:
            raise UnknownSaga
        if signal is not None:
            if signal.kind is not PROMISE:
                raise UnknownSignal
            return signal
        self._registry.require_promise(saga.workflow, saga.version, request.name)
        return Signal(saga.id, request.name, PROMISE, opened_at=saga.claimed_at)

    async def _decide(
        self, conn: Connection, saga: Saga | None, signal: Signal, proposal: Proposal
    ) -> tuple[Settlement, Signal | None]:
        """Decide under the lock: accepted, or a mismatch, a repeat, a conflict, or too late."""
        proposed = self._proposed(signal, proposal, self._shape(saga, signal))
        key = saga.key if saga is not None else None
        saga_id = str(signal.saga_id)
        differing = mismatches(signal, proposal.facts)
        if differing:
            return Settlement("mismatch", saga_id, key, settled_signal(signal), mismatches=differing), None
        if signal.status is not OPEN and repeats(signal, proposed, self._codec):
            return Settlement("repeat", saga_id, key, settled_signal(signal)), None
        if signal.status is OPEN and saga is not None and saga.phase is FORWARD:
            at = await signals.settle_held(conn, proposed, now=self._clock.sql_now())
            settled = proposed._replace(settled_at=at)
            self._hooks.signal_before(settled)
            return Settlement("accepted", saga_id, key, settled_signal(settled)), settled
        settled_by_value = signal.status in (SignalStatus.RESOLVED, SignalStatus.REJECTED)
        outcome = "conflict" if settled_by_value else "late"
        started = None
        if proposal.otherwise is not None:
            started = await self._starting.start_unleased(conn, proposal.otherwise)
        return Settlement(outcome, saga_id, key, settled_signal(signal), started=started), None

    def _proposed(self, signal: Signal, proposal: Proposal, shape: Any) -> Signal:
        value = proposal.written
        if proposal.error is None and value is None:
            try:
                value = canonical(self._codec, proposal.value, shape)
            except PayloadError as error:
                raise InvalidValue(f"the value does not have the declared shape: {error.message}") from None
        return signal._replace(
            status=proposal.status,
            value=value,
            error=proposal.error,
            identity=proposal.identity,
            settled_by=proposal.by,
        )

    def _shape(self, saga: Saga | signals.Addressee | None, signal: Signal) -> Any:
        definition = None if saga is None else self._registry.get(saga.workflow, saga.version)
        if definition is None:
            return Any
        if signal.kind is PROMISE:
            return definition.promises.get(signal.name, Any)
        return definition.awakeable_shape(signal.shape)
