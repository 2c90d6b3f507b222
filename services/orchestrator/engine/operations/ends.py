"""How sagas have ended: as their rows say, or as the flush says that has written it."""

from services.orchestrator.engine.model.flush import Flush
from services.orchestrator.engine.model.states import status_word
from services.orchestrator.engine.operations.views import SagaEnd
from services.orchestrator.engine.store.legible import value_of
from services.orchestrator.engine.store.views import SagaRow


def end_of(row: SagaRow) -> SagaEnd:
    """Return how a saga has ended, or that it runs on, by its row."""
    return SagaEnd(str(row.id), row.status, value_of(row.output), row.error, row.finished_at is not None)


def end_by(flush: Flush) -> SagaEnd:
    """Return the end that a flush has written."""
    status = status_word(flush.phase, flush.run_state, flush.outcome, flush.epoch)
    return SagaEnd(str(flush.saga_id), status, value_of(flush.output), flush.error, has_ended=True)
