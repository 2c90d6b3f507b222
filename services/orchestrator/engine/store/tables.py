"""The engine's schema.

One row of `sagas` is one saga: what it is, where it stands, when it is due. Its log is `steps`, one row per finished
fact, inserted once and taken out only by a restart; calls that have not finished stand on the saga's row, and beside
them what a restart has carried over (steps that may have taken effect, callbacks, messages, undos that are owed), each
until the code comes to its position again. `compensations` has its undos, written before the effects that they
undo. `signals` has what comes from outside, and the ends of called sagas; `awaiting` has who is yet to be told of an
end. Every table leads with a saga's id, so that they can be distributed by it (`awaiting` by that of the saga that
ends); there are no foreign keys, because a saga's rows are written and deleted together and a check per row would be
paid on the hot path.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    CheckConstraint,
    Column,
    DateTime,
    Index,
    Integer,
    MetaData,
    Table,
    Text,
    desc,
    text,
)
from sqlalchemy.dialects.postgresql import UUID

from services.chassis.postgres.tables import HISTORY, PURGED, add_audit, add_idempotency, add_inbox, add_outbox

metadata = MetaData()

MOMENT = DateTime(timezone=True)

sagas = Table(
    "sagas",
    metadata,
    Column("id", UUID(as_uuid=True), primary_key=True),
    Column("workflow", Text, nullable=False),
    Column("version", Integer, nullable=False),
    Column("key", Text, nullable=False),
    Column("subject", Text),
    Column("parent_id", UUID(as_uuid=True)),
    Column("traceparent", Text),
    Column("phase", Text, nullable=False),
    Column("run_state", Text, nullable=False),
    Column("outcome", Text),
    Column("epoch", BigInteger, nullable=False),
    Column("flush_no", BigInteger, nullable=False),
    Column("signal_no", Integer, nullable=False),
    Column("undo_no", Integer, nullable=False),
    Column("takeovers", Integer, nullable=False),
    Column("faults", Integer, nullable=False),
    Column("no_return", Boolean, nullable=False),
    Column("due_at", MOMENT),
    Column("owner", Text),
    Column("alone", Boolean, nullable=False),
    Column("awaited", Boolean, nullable=False, server_default=text("false")),
    Column("created_at", MOMENT, nullable=False),
    Column("updated_at", MOMENT, nullable=False),
    Column("finished_at", MOMENT),
    Column("calls", Text),
    Column("waits", Text),
    Column("progress", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("attention", Text),
    Column("input", Text, nullable=False),
    Column("output", Text),
    CheckConstraint("phase in ('forward', 'compensating', 'ended')", name="sagas_phase"),
    CheckConstraint("run_state in ('ready', 'leased', 'waiting', 'paused', 'stuck', 'done')", name="sagas_run_state"),
    CheckConstraint("outcome in ('completed', 'failed', 'cancelled')", name="sagas_outcome"),
    CheckConstraint("(phase = 'ended') = (run_state = 'done')", name="sagas_done_is_ended"),
    CheckConstraint("(phase = 'forward') = (outcome is null)", name="sagas_outcome_leaves_forward"),
    CheckConstraint("not (phase = 'compensating' and outcome = 'completed')", name="sagas_completed_undoes_nothing"),
    CheckConstraint("not (phase = 'compensating' and no_return)", name="sagas_no_return_undoes_nothing"),
    CheckConstraint("run_state <> 'paused' or phase = 'forward'", name="sagas_paused_is_forward"),
    CheckConstraint("run_state not in ('ready', 'leased') or due_at is not null", name="sagas_ready_is_due"),
    CheckConstraint("run_state not in ('paused', 'stuck', 'done') or due_at is null", name="sagas_still_is_not_due"),
    CheckConstraint("(run_state = 'stuck') = (attention is not null)", name="sagas_stuck_says_why"),
    CheckConstraint("(phase = 'ended') = (finished_at is not null)", name="sagas_ended_is_finished"),
    Index("sagas_due", "due_at", postgresql_where=text("due_at is not null")),
    Index("sagas_newest", "created_at", "id"),
    Index("sagas_of_subject", "subject", desc("created_at"), postgresql_where=text("subject is not null")),
    Index("sagas_live", "workflow", postgresql_where=text("phase <> 'ended'")),
    Index("sagas_finished", "finished_at", postgresql_where=text("finished_at is not null")),
    Index("sagas_awaited_ends", "id", postgresql_where=text("phase = 'ended' and awaited")),
    # For people who look for what is rare among millions. A saga that goes well is never in it; and whatever changes
    # one of these columns on its way changes due_at or phase as well: no write leaves its page because of this index.
    Index(
        "sagas_rare",
        "run_state",
        "outcome",
        "created_at",
        "id",
        postgresql_where=text("outcome in ('failed', 'cancelled') or run_state in ('paused', 'stuck')"),
    ),
    postgresql_with={"fillfactor": "70", **HISTORY},
)

steps = Table(
    "steps",
    metadata,
    Column("saga_id", UUID(as_uuid=True), primary_key=True),
    Column("position", Text(collation="C"), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("started_at", MOMENT, nullable=False),
    Column("finished_at", MOMENT, nullable=False),
    Column("output", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    CheckConstraint("(output is null) <> (error_code is null)", name="steps_output_or_error"),
    postgresql_with=dict(PURGED),
)

compensations = Table(
    "compensations",
    metadata,
    Column("saga_id", UUID(as_uuid=True), primary_key=True),
    Column("seq", Integer, primary_key=True),
    Column("name", Text, nullable=False),
    Column("position", Text(collation="C"), nullable=False),
    Column("step_position", Text(collation="C")),
    Column("args", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("started_at", MOMENT),
    Column("finished_at", MOMENT),
    CheckConstraint("status in ('owed', 'waived', 'done', 'skipped')", name="compensations_status"),
    CheckConstraint("(status = 'owed') = (finished_at is null)", name="compensations_settled_is_finished"),
    postgresql_with=dict(PURGED),
)

signals = Table(
    "signals",
    metadata,
    Column("saga_id", UUID(as_uuid=True), primary_key=True),
    Column("name", Text(collation="C"), primary_key=True),
    Column("kind", Text, nullable=False),
    Column("status", Text, nullable=False),
    Column("shape", Text, nullable=False),
    Column("expects", Text),
    Column("value", Text),
    Column("error_code", Text),
    Column("error_message", Text),
    Column("identity", Text),
    Column("opened_at", MOMENT, nullable=False),
    Column("until", MOMENT),
    Column("settled_by", Text),
    Column("settled_at", MOMENT),
    CheckConstraint("kind in ('awakeable', 'promise', 'child')", name="signals_kind"),
    CheckConstraint("status in ('open', 'resolved', 'rejected', 'expired')", name="signals_status"),
    CheckConstraint("(status = 'open') = (settled_at is null)", name="signals_settled_at"),
    CheckConstraint("(status = 'resolved') = (value is not null)", name="signals_resolved_has_value"),
    CheckConstraint("(status = 'rejected') = (error_code is not null)", name="signals_rejected_has_error"),
    Index(
        "signals_open_promises",
        "name",
        "opened_at",
        "saga_id",
        postgresql_where=text("kind = 'promise' and status = 'open'"),
    ),
    Index("signals_of_children", "name", postgresql_where=text("kind = 'child'")),
    postgresql_with=dict(PURGED),
)

awaiting = Table(
    "awaiting",
    metadata,
    Column("child_id", UUID(as_uuid=True), primary_key=True),
    Column("parent_id", UUID(as_uuid=True), primary_key=True),
    postgresql_with=dict(PURGED),
)

add_outbox(metadata)
add_inbox(metadata)
add_idempotency(metadata)
add_audit(metadata)
