"""The settlement that a caller proposes for a signal, and how it compares with the signal as it stands."""

from collections.abc import Mapping
from typing import Any, NamedTuple
from uuid import UUID

import orjson

from services.orchestrator.engine.model.codec import Codec
from services.orchestrator.engine.model.errors import UnreadableSaga
from services.orchestrator.engine.model.records import RESOLVED, ErrorInfo, Signal, SignalKind, SignalStatus
from services.orchestrator.engine.operations.views import StartRequest
from services.orchestrator.engine.store import signals
from services.orchestrator.engine.store.unreadable import read_or


class Proposal(NamedTuple):
    """A proposed settlement: a value (JSON, as given) or an error.

    `identity` recognises a repeat. `facts` must agree with what the awakeable expects. `otherwise` is the saga to start
    if the settlement comes too late. `written`: a value that is already encoded, the output of a called saga.
    """

    by: str
    value: Any = None
    error: ErrorInfo | None = None
    identity: str | None = None
    facts: Mapping[str, Any] | None = None
    otherwise: StartRequest | None = None
    written: str | None = None

    @property
    def status(self) -> SignalStatus:
        """Return what the signal becomes if this is accepted."""
        return RESOLVED if self.error is None else SignalStatus.REJECTED


class SettleRequest(NamedTuple):
    """A proposal for one signal of one saga."""

    saga_id: UUID
    name: str
    kind: SignalKind
    proposal: Proposal

    @property
    def place(self) -> signals.Place:
        """Return which signal it is."""
        return self.saga_id, self.name


def mismatches(signal: Signal, facts: Mapping[str, Any] | None) -> Mapping[str, Any]:
    """Compare the facts with what the awakeable expects; return what differs, as expected. UnreadableSaga."""
    if facts is None or signal.expects is None:
        return {}
    expects = read_or(signal.expects, orjson.loads, None, "expects", [])
    if not isinstance(expects, dict):
        raise UnreadableSaga(signal.saga_id, [f"expectations of {signal.name!r}"])
    return {name: expects[name] for name in expects if name in facts and facts[name] != expects[name]}


def repeats(stands: Signal, proposed: Signal, codec: Codec) -> bool:
    """Say whether a proposal repeats the one that has settled the signal."""
    if stands.status is not proposed.status:
        return False
    if stands.identity is not None or proposed.identity is not None:
        return stands.identity == proposed.identity
    if stands.value is None or proposed.value is None:
        return stands.value == proposed.value and stands.error == proposed.error
    return codec.same(stands.value, proposed.value)
