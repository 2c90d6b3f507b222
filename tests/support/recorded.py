"""Logs of sagas as a release has written them, kept as files, and their replay by the present code."""

import json
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

from services.chassis.logs import get_logger
from services.chassis.postgres.database import Database
from services.chassis.security.sealing import Sealer
from services.orchestrator.codec import PydanticCodec
from services.orchestrator.engine import EngineSettings, NewSaga, Registry, Signal, TerminalError, WorkflowContext
from services.orchestrator.engine.model.errors import Divergence
from services.orchestrator.engine.model.first_lease import leased_from_start
from services.orchestrator.engine.model.records import ErrorInfo, Kind, LogRecord, SignalKind, SignalStatus
from services.orchestrator.engine.model.replay import Replay
from services.orchestrator.engine.running.driver import Driver
from services.orchestrator.engine.running.journal import Journal
from services.orchestrator.engine.running.limited_codec import LimitedCodec
from services.orchestrator.engine.running.log import RunLog
from services.orchestrator.engine.store import signals, steps, views
from services.orchestrator.settings import OrchestratorSettings
from services.orchestrator.workflows import REGISTRY
from tests.support.clock import ManualClock
from tests.support.tree import ROOT

FOLDER = ROOT / "tests" / "recorded"
"""A folder for each release, in it a file for each end of a saga."""
FOR_EVER = datetime.max.replace(tzinfo=UTC)

Values = dict[str, Any]


@dataclass(frozen=True, slots=True)
class RecordedLog:
    """What a saga that has ended left: what it was started with, its log and signals, and what came of it."""

    saga: Values
    records: list[Values]
    signals: list[Values]
    output: str | None
    error: list[str] | None

    def write(self, path: Path) -> None:
        """Keep it as a file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        fields = {name: getattr(self, name) for name in self.__slots__}
        path.write_text(json.dumps(fields, indent=1) + "\n")


def read(path: Path) -> RecordedLog:
    """Read what a release has written."""
    return RecordedLog(**json.loads(path.read_text()))


async def take_down(database: Database, saga_id: str) -> RecordedLog:
    """Take down what the database holds of a saga that has ended."""
    async with database.autocommit() as conn:
        row = await views.get(conn, UUID(saga_id))
        records = [record for _, record in await steps.of_sagas(conn, [UUID(saga_id)])]
        settled = (await signals.news_of(conn, [UUID(saga_id)]))[UUID(saga_id)][1]
    assert row is not None
    saga = {name: getattr(row, name) for name in ("id", "workflow", "version", "key", "subject", "input", "created_at")}
    return RecordedLog(
        saga=_plain(saga),
        records=_plain([record._asdict() for record in records]),
        signals=_plain([signal._asdict() for signal in settled]),
        output=row.output,
        error=None if row.error is None else [row.error.code, row.error.message],
    )


def replay(recorded: RecordedLog, clock: ManualClock) -> tuple[str | None, list[str] | None]:
    """Run the present code over a log to its end; give its output and error. It must not ask for anything new."""
    codec = PydanticCodec(Sealer([key.get_secret_value() for key in _settings().encryption_keys]))
    saga = recorded.saga
    definition = Registry(REGISTRY).get(saga["workflow"], saga["version"])
    assert definition is not None, f"{saga['workflow']} has no version {saga['version']} any more"
    new = NewSaga(UUID(saga["id"]), saga["workflow"], saga["version"], saga["key"], saga["input"], saga["subject"])
    log = RunLog(
        leased_from_start(new, datetime.fromisoformat(saga["created_at"])),
        Replay(map(_record, recorded.records), ()),
        clock,
    )
    log.learn(len(recorded.signals), map(_signal, recorded.signals))
    journal = Journal(log, definition, codec=LimitedCodec(codec, EngineSettings().payload_limit), clients=None)
    context = WorkflowContext(
        journal, saga_id=saga["id"], key=saga["key"], subject=saga["subject"], log=get_logger("workflow.replayed")
    )
    code: Any = definition.fn(context, codec.decode(saga["input"], definition.input_type))
    driver = Driver(code, log)
    _drive(driver, log)
    if driver.error is not None:
        assert isinstance(driver.error, TerminalError), repr(driver.error)
        return None, [driver.error.code, str(driver.error)]
    return codec.encode(driver.value, definition.output_type), None


def _drive(driver: Driver, log: RunLog) -> None:
    goes_on = True
    while goes_on:
        driver.advance()
        if log.fault is not None:
            raise log.fault
        new = [command.name for command in driver.new_steps] + [record.name for record in log.pending.records]
        assert not new, f"the code asks for {new}, which the log does not have"
        driver.settle(FOR_EVER)
        goes_on = not driver.finished and (driver.has_runnable or driver.begin_another())
    left = log.replay.first_left()
    if left is not None:
        raise Divergence(left.position, f"{left.kind} {left.name!r}", "nothing")
    assert driver.finished, "the code waits for something that the log does not have"


def _settings() -> OrchestratorSettings:
    return OrchestratorSettings(database_url="postgresql://nobody@127.0.0.1/nowhere")


def _written(value: object) -> Any:
    if isinstance(value, ErrorInfo):
        return asdict(value)
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _plain(value: Any) -> Any:
    """Return a value as it is read back from a file."""
    return json.loads(json.dumps(value, default=_written))


def _moments(values: Values) -> Values:
    return {
        name: datetime.fromisoformat(value) if value is not None and name.endswith(("_at", "until")) else value
        for name, value in values.items()
    }


def _record(values: Values) -> LogRecord:
    known = _moments(values)
    error = None if known["error"] is None else ErrorInfo(**known["error"])
    return LogRecord(**known | {"kind": Kind(known["kind"]), "error": error})


def _signal(values: Values) -> Signal:
    known = _moments(values)
    error = None if known["error"] is None else ErrorInfo(**known["error"])
    kind, status = SignalKind(known["kind"]), SignalStatus(known["status"])
    return Signal(**known | {"saga_id": UUID(known["saga_id"]), "kind": kind, "status": status, "error": error})
