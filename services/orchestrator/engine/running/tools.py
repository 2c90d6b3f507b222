"""What the parts of a turn share: one value for all turns of a replica."""

from dataclasses import dataclass

from services.chassis.clock import Clock
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.calls import Caller
from services.orchestrator.engine.running.committer import Committer
from services.orchestrator.engine.running.endings import Endings
from services.orchestrator.engine.running.limited_codec import LimitedCodec
from services.orchestrator.engine.running.loader import Loader


@dataclass(frozen=True, slots=True)
class Tools:
    """How a turn writes, calls out, ends a saga and reads what is known of it; by which clock, within which limits."""

    committer: Committer
    caller: Caller
    endings: Endings
    loader: Loader
    codec: LimitedCodec
    clock: Clock
    hooks: EngineHooks
    settings: EngineSettings
