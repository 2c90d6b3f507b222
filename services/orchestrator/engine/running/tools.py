"""What all turns of a replica share: its committer, its codec, its clock and so on."""

from dataclasses import dataclass

from services.chassis.clock import Clock
from services.orchestrator.engine.hooks import EngineHooks
from services.orchestrator.engine.model.settings import EngineSettings
from services.orchestrator.engine.running.attempts import Caller
from services.orchestrator.engine.running.committer import Committer
from services.orchestrator.engine.running.endings import Endings
from services.orchestrator.engine.running.limited_codec import LimitedCodec
from services.orchestrator.engine.running.loader import Loader


@dataclass(frozen=True, slots=True)
class Tools:
    """The shared parts of a replica's turns."""

    committer: Committer
    caller: Caller
    endings: Endings
    loader: Loader
    codec: LimitedCodec
    clock: Clock
    hooks: EngineHooks
    settings: EngineSettings
