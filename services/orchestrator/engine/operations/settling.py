"""Settling signals: once, under the saga's row lock, where ownership of late money is decided too."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any
from uuid import UUID

import orjson

from services.chassis import audit
from services.chassis.clock import Clock
from services.chassis.db import Connection, Database
from services.orchestrator.engine.authoring.definition import Registry
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.errors import InvalidValue, PayloadError, UnknownSaga, UnknownSignal
from services.orchestrator.engine.model.records import ErrorInfo, Saga, Signal, SignalKind, SignalStatus
from services.orchestrator.engine.model.states import Phase
from services.orchestrator.engine.operations.reading import saga_uuid, standing_of
from services.orchestrator.engine.operations.starting import Starting
from services.orchestrator.engine.operations.views import Settlement, StartRequest
from services.orchestrator.engine.store import sagas, signals

AWAKEABLE_PREFIX = "awk_"
_SAGA_HEX = 32


@dataclass(frozen=True, slots=True)
class Proposal:
    """What somebody wants a signal to become: a value (JSON, as given) or an error, and on what grounds."""

    by: str
    value: Any = None
    error: ErrorInfo | None = None
    identity: str | None = None
    facts: Mapping[str, Any] | None = None
    otherwise: StartRequest | None = None

    @property
    def status(self) -> SignalStatus:
        """Give what the signal becomes if this is accepted."""
        return SignalStatus.RESOLVED if self.error is None else SignalStatus.REJECTED


class Settling:
    """Settles awakeables and promises."""

    def __init__(
        self,
        registry: Registry,
        codec: Codec,
        database: Database,
        clock: Clock,
        hooks: EngineHooks,
        starting: Starting,
    ) -> None:
        """Take whose signals they are and where they are written."""
        self._registry = registry
        self._codec = codec
        self._database = database
        self._clock = clock
        self._hooks = hooks
        self._starting = starting

    async def awakeable(self, awakeable_id: str, proposal: Proposal) -> Settlement:
        """Settle a callback by its id; UnknownSignal if there is none. What comes too late starts `otherwise`."""
        saga_id = _saga_of(awakeable_id)
        async with self._database.begin() as conn:
            saga = await sagas.lock(conn, saga_id, now=self._clock.sql_now())
            signal = await signals.get(conn, saga_id, awakeable_id)
            if signal is None:
                raise UnknownSignal
            shape = self._awakeable_shape(saga, signal)
            settlement, settled = await self._decide(conn, saga, signal, proposal, shape)
        if settled is not None:
            self._hooks.signal_settled(settled)
        return settlement

    async def promise(self, saga_id: str, name: str, proposal: Proposal) -> Settlement:
        """Settle a declared promise of a saga, also before it is waited for; UnknownSaga, UnknownSignal."""
        async with self._database.begin() as conn:
            saga = await sagas.lock(conn, saga_uuid(saga_id), now=self._clock.sql_now())
            if saga is None:
                raise UnknownSaga
            definition = self._registry.get(saga.workflow, saga.version)
            if definition is None or name not in definition.promises:
                raise UnknownSignal
            signal = await signals.get(conn, saga.id, name)
            known = signal or Signal(saga.id, name, SignalKind.PROMISE, opened_at=saga.claimed_at)
            settlement, settled = await self._decide(conn, saga, known, proposal, definition.promises[name])
        if settled is not None:
            self._hooks.signal_settled(settled)
        return settlement

    async def _decide(
        self, conn: Connection, saga: Saga | None, signal: Signal, proposal: Proposal, shape: Any
    ) -> tuple[Settlement, Signal | None]:
        """Decide under the lock: believe it, recognise it, or find that it comes too late."""
        proposed = self._proposed(signal, proposal, shape)
        key = saga.key if saga is not None else None
        saga_id = str(signal.saga_id)
        mismatches = _mismatches(signal, proposal.facts)
        if mismatches:
            return Settlement("mismatch", saga_id, key, standing_of(signal), mismatches=mismatches), None
        if signal.status is not SignalStatus.OPEN and _repeats(signal, proposed):
            return Settlement("repeat", saga_id, key, standing_of(signal)), None
        if signal.status is SignalStatus.OPEN and saga is not None and saga.phase is Phase.FORWARD:
            settled = replace(proposed, settled_at=saga.claimed_at)
            await self._settle(conn, saga, settled)
            return Settlement("accepted", saga_id, key, standing_of(settled)), settled
        settled_by_value = signal.status in (SignalStatus.RESOLVED, SignalStatus.REJECTED)
        outcome = "conflict" if settled_by_value else "late"
        started = None
        if proposal.otherwise is not None:
            started = await self._starting.within(conn, proposal.otherwise)
        return Settlement(outcome, saga_id, key, standing_of(signal), started=started), None

    async def _settle(self, conn: Connection, saga: Saga, settled: Signal) -> None:
        await signals.settle(conn, settled)
        await sagas.wake(conn, saga.id, at=saga.claimed_at)
        await audit.record(
            conn,
            action=f"{settled.kind}.{settled.status}",
            subject_id=str(saga.id),
            actor=settled.settled_by or "unknown",
            reason=None if settled.error is None else settled.error.message,
            details={"name": settled.name, "identity": settled.identity},
            now=self._clock.sql_now(),
        )
        self._hooks.signal_before(settled)

    def _proposed(self, signal: Signal, proposal: Proposal, shape: Any) -> Signal:
        value = None
        if proposal.error is None:
            try:
                text = self._codec.encode(proposal.value, object)
                value = self._codec.encode(self._codec.decode(text, shape), shape)
            except PayloadError as error:
                raise InvalidValue(f"the value does not have the declared shape: {error.message}") from None
        return replace(
            signal,
            status=proposal.status,
            value=value,
            error=proposal.error,
            identity=proposal.identity,
            settled_by=proposal.by,
        )

    def _awakeable_shape(self, saga: Saga | None, signal: Signal) -> Any:
        definition = None if saga is None else self._registry.get(saga.workflow, saga.version)
        return Any if definition is None else definition.awakeable_shape(signal.shape)


def _saga_of(awakeable_id: str) -> UUID:
    """Read which saga an awakeable belongs to out of its id."""
    body = awakeable_id.removeprefix(AWAKEABLE_PREFIX)
    if body == awakeable_id or len(body) <= _SAGA_HEX or not awakeable_id.isascii() or not awakeable_id.isprintable():
        raise UnknownSignal
    try:
        return UUID(hex=body[:_SAGA_HEX])
    except ValueError:
        raise UnknownSignal from None


def _mismatches(signal: Signal, facts: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Compare the facts with what the awakeable expects; give what differs, as expected."""
    if facts is None or signal.expects is None:
        return {}
    expects: dict[str, Any] = orjson.loads(signal.expects)
    return {name: expects[name] for name in expects if name in facts and facts[name] != expects[name]}


def _repeats(stands: Signal, proposed: Signal) -> bool:
    """Say whether a proposal is the one that has settled the signal, delivered again."""
    if stands.status is not proposed.status:
        return False
    if stands.identity is not None or proposed.identity is not None:
        return stands.identity == proposed.identity
    return stands.value == proposed.value and stands.error == proposed.error
