"""Sagas, their log, their undos and signals; the chassis's tables.

Old code on the new schema: there is none.
"""

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op
from alembic.operations import Operations

from migrations import chassis

revision: str = "0001"
down_revision: str | None = None
branch_labels: Sequence[str] | None = None
depends_on: Sequence[str] | None = None

TABLES = """
CREATE TABLE sagas (
    id uuid NOT NULL,
    workflow text NOT NULL,
    version integer NOT NULL,
    key text NOT NULL,
    subject text,
    parent_id uuid,
    traceparent text,
    phase text NOT NULL,
    run_state text NOT NULL,
    outcome text,
    epoch bigint NOT NULL,
    flush_no bigint NOT NULL,
    signal_no integer NOT NULL,
    undo_no integer NOT NULL,
    takeovers integer NOT NULL,
    faults integer NOT NULL,
    no_return boolean NOT NULL,
    due_at timestamptz,
    owner text,
    alone boolean NOT NULL,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    finished_at timestamptz,
    calls text,
    waits text,
    progress text,
    error_code text,
    error_message text,
    attention text,
    input text NOT NULL,
    output text,
    PRIMARY KEY (id),
    CONSTRAINT sagas_phase CHECK (phase in ('forward', 'compensating', 'ended')),
    CONSTRAINT sagas_run_state CHECK (run_state in ('ready', 'leased', 'waiting', 'paused', 'stuck', 'done')),
    CONSTRAINT sagas_outcome CHECK (outcome in ('completed', 'failed', 'cancelled')),
    CONSTRAINT sagas_done_is_ended CHECK ((phase = 'ended') = (run_state = 'done')),
    CONSTRAINT sagas_outcome_leaves_forward CHECK ((phase = 'forward') = (outcome is null)),
    CONSTRAINT sagas_completed_undoes_nothing CHECK (not (phase = 'compensating' and outcome = 'completed')),
    CONSTRAINT sagas_no_return_undoes_nothing CHECK (not (phase = 'compensating' and no_return)),
    CONSTRAINT sagas_paused_is_forward CHECK (run_state <> 'paused' or phase = 'forward'),
    CONSTRAINT sagas_ready_is_due CHECK (run_state not in ('ready', 'leased') or due_at is not null),
    CONSTRAINT sagas_still_is_not_due CHECK (run_state not in ('paused', 'stuck', 'done') or due_at is null),
    CONSTRAINT sagas_stuck_says_why CHECK ((run_state = 'stuck') = (attention is not null)),
    CONSTRAINT sagas_ended_is_finished CHECK ((phase = 'ended') = (finished_at is not null))
)
 WITH (fillfactor = 70);

CREATE INDEX sagas_due ON sagas (due_at) WHERE due_at is not null;

CREATE INDEX sagas_finished ON sagas (finished_at) WHERE finished_at is not null;

CREATE INDEX sagas_live ON sagas (workflow) WHERE phase <> 'ended';

CREATE INDEX sagas_newest ON sagas (created_at DESC, id DESC);

CREATE INDEX sagas_of_subject ON sagas (subject, created_at DESC) WHERE subject is not null;

CREATE TABLE steps (
    saga_id uuid NOT NULL,
    position text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    name text NOT NULL,
    attempts integer NOT NULL,
    started_at timestamptz NOT NULL,
    finished_at timestamptz NOT NULL,
    output text,
    error_code text,
    error_message text,
    PRIMARY KEY (saga_id, position),
    CONSTRAINT steps_output_or_error CHECK ((output is null) <> (error_code is null))
);

CREATE TABLE compensations (
    saga_id uuid NOT NULL,
    seq integer NOT NULL,
    name text NOT NULL,
    position text COLLATE "C" NOT NULL,
    step_position text COLLATE "C",
    args text NOT NULL,
    status text NOT NULL,
    attempts integer NOT NULL,
    error_code text,
    error_message text,
    started_at timestamptz,
    finished_at timestamptz,
    PRIMARY KEY (saga_id, seq),
    CONSTRAINT compensations_status CHECK (status in ('owed', 'waived', 'done', 'skipped')),
    CONSTRAINT compensations_settled_is_finished CHECK ((status = 'owed') = (finished_at is null))
);

CREATE TABLE signals (
    saga_id uuid NOT NULL,
    name text COLLATE "C" NOT NULL,
    kind text NOT NULL,
    status text NOT NULL,
    shape text NOT NULL,
    expects text,
    value text,
    error_code text,
    error_message text,
    identity text,
    opened_at timestamptz NOT NULL,
    until timestamptz,
    settled_by text,
    settled_at timestamptz,
    PRIMARY KEY (saga_id, name),
    CONSTRAINT signals_kind CHECK (kind in ('awakeable', 'promise')),
    CONSTRAINT signals_status CHECK (status in ('open', 'resolved', 'rejected', 'expired')),
    CONSTRAINT signals_settled_at CHECK ((status = 'open') = (settled_at is null)),
    CONSTRAINT signals_resolved_has_value CHECK ((status = 'resolved') = (value is not null)),
    CONSTRAINT signals_rejected_has_error CHECK ((status = 'rejected') = (error_code is not null))
);

CREATE INDEX signals_open_promises ON signals (name, opened_at, saga_id) WHERE kind = 'promise' and status = 'open';
"""


def upgrade() -> None:
    operations = Operations(op.get_context())
    for statement in filter(None, map(str.strip, TABLES.split(";"))):
        op.execute(sa.text(statement))
    chassis.create_outbox(operations)
    chassis.create_inbox(operations)
    chassis.create_idempotency(operations)
    chassis.create_audit(operations)


def downgrade() -> None:
    operations = Operations(op.get_context())
    chassis.drop_audit(operations)
    chassis.drop_idempotency(operations)
    chassis.drop_inbox(operations)
    chassis.drop_outbox(operations)
    op.execute(sa.text("DROP TABLE signals, compensations, steps, sagas"))
