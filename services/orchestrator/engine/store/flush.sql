-- The flush, under the contract of queries.sql: it locks sagas by id, then writes their rows in the other tables.

-- name: flush
-- Writes the flushes of many sagas: locks their rows at their epochs, then writes for those it got. One row per flush whose saga
-- it holds, by the flush's place in the batch: `fresh` if this statement has applied it, otherwise `before` if an earlier one had.
-- A replica that holds a saga again may send what its former lease had to write in the same batch: so every row of another table
-- names its flush's place, and not its saga. A column in which every row has the usual is left out: unnest fills it up with nulls.
-- What became of an undo finds its row only if an earlier flush has registered it: as every undo is registered before the effect
-- that it undoes, one has.
with wanted as (
    select w.no, w.id, w.epoch, w.flush_no, w.knows, coalesce(w.expired, 0) as expired,
           coalesce(w.phase, 'forward') as phase, coalesce(w.run_state, 'leased') as run_state, w.outcome, w.due_at,
           coalesce(w.undo_no, 0) as undo_no, coalesce(w.takeovers, 0) as takeovers, coalesce(w.faults, 0) as faults,
           coalesce(w.no_return, false) as no_return, w.calls, w.waits, w.progress, w.error_code, w.error_message, w.attention,
           w.output
    from unnest(
        cast(:ids as uuid[]), cast(:epochs as bigint[]), cast(:flush_nos as bigint[]), cast(:knows as integer[]),
        cast(:expireds as integer[]), cast(:phases as text[]), cast(:run_states as text[]), cast(:outcomes as text[]),
        cast(:due_ats as timestamptz[]), cast(:undo_nos as integer[]), cast(:takeovers as integer[]),
        cast(:faults as integer[]), cast(:no_returns as boolean[]), cast(:calls as text[]), cast(:waits as text[]),
        cast(:progresses as text[]), cast(:error_codes as text[]), cast(:error_messages as text[]),
        cast(:attentions as text[]), cast(:outputs as text[])
    ) with ordinality as w(id, epoch, flush_no, knows, expired, phase, run_state, outcome, due_at, undo_no, takeovers, faults,
                           no_return, calls, waits, progress, error_code, error_message, attention, output, no)
), held as materialized (
    select w.no, s.id, s.flush_no as stands, s.signal_no as counted, w.epoch, w.flush_no, w.knows, w.expired, w.phase,
           w.run_state, w.outcome, w.due_at, w.undo_no, w.takeovers, w.faults, w.no_return, w.calls, w.waits, w.progress,
           w.error_code, w.error_message, w.attention, w.output
    from sagas s
    join wanted w on w.id = s.id
    where s.epoch = w.epoch
    order by s.id
    for no key update of s
), fresh as materialized (
    select * from held where stands < flush_no and (knows is null or knows = counted)
), logged as (
    insert into steps (saga_id, position, kind, name, attempts, started_at, finished_at, output, error_code, error_message)
    select fresh.id, r.position, coalesce(r.kind, 'step'), r.name, coalesce(r.attempts, 1), to_timestamp(r.started_at),
           to_timestamp(r.finished_at), r.output, r.error_code, r.error_message
    from unnest(
        cast(:step_flushes as integer[]), cast(:step_positions as text[]), cast(:step_kinds as text[]), cast(:step_names as text[]),
        cast(:step_attempts as integer[]), cast(:step_starts as float8[]), cast(:step_ends as float8[]),
        cast(:step_outputs as text[]), cast(:step_error_codes as text[]), cast(:step_error_messages as text[])
    ) as r(no, position, kind, name, attempts, started_at, finished_at, output, error_code, error_message)
    join fresh on fresh.no = r.no
), registered as (
    insert into compensations (saga_id, seq, name, position, step_position, args, status, attempts)
    select fresh.id, u.seq, u.name, u.position, u.step_position, u.args, 'owed', 0
    from unnest(
        cast(:undo_flushes as integer[]), cast(:undo_seqs as integer[]), cast(:undo_names as text[]), cast(:undo_positions as text[]),
        cast(:undo_steps as text[]), cast(:undo_args as text[])
    ) as u(no, seq, name, position, step_position, args)
    join fresh on fresh.no = u.no
), changed as (
    update compensations c
    set status = u.status, attempts = u.attempts, error_code = u.error_code, error_message = u.error_message,
        started_at = u.started_at, finished_at = u.finished_at
    from unnest(
        cast(:change_flushes as integer[]), cast(:change_positions as text[]), cast(:change_statuses as text[]),
        cast(:change_attempts as integer[]), cast(:change_error_codes as text[]), cast(:change_error_messages as text[]),
        cast(:change_starts as timestamptz[]), cast(:change_ends as timestamptz[])
    ) as u(no, position, status, attempts, error_code, error_message, started_at, finished_at)
    join fresh on fresh.no = u.no
    where c.saga_id = fresh.id and c.position = u.position
), opened as (
    insert into signals as g (saga_id, name, kind, status, shape, expects, opened_at, until)
    select fresh.id, o.name, o.kind, 'open', o.shape, o.expects, o.opened_at, o.until
    from unnest(
        cast(:signal_flushes as integer[]), cast(:signal_names as text[]), cast(:signal_kinds as text[]),
        cast(:signal_shapes as text[]), cast(:signal_expects as text[]), cast(:signal_openings as timestamptz[]),
        cast(:signal_untils as timestamptz[])
    ) as o(no, name, kind, shape, expects, opened_at, until)
    join fresh on fresh.no = o.no
    on conflict (saga_id, name) do update set until = excluded.until where g.status = 'open'
), moment as materialized (
    select coalesce(cast(:now as timestamptz), clock_timestamp()) as at
), written as (
    update sagas s
    set phase = f.phase,
        run_state = f.run_state,
        outcome = f.outcome,
        flush_no = f.flush_no,
        signal_no = s.signal_no + f.expired,
        due_at = case when f.run_state = 'leased' then s.due_at else f.due_at end,
        owner = case when f.run_state = 'leased' then s.owner end,
        undo_no = f.undo_no,
        takeovers = f.takeovers,
        alone = s.alone and f.takeovers > 0,
        faults = f.faults,
        no_return = f.no_return,
        calls = f.calls,
        waits = f.waits,
        progress = f.progress,
        error_code = f.error_code,
        error_message = f.error_message,
        attention = f.attention,
        output = f.output,
        updated_at = moment.at,
        finished_at = case when f.phase = 'ended' then moment.at end
    from fresh f cross join moment
    where s.id = f.id
)
select no, stands < flush_no and (knows is null or knows = counted) as fresh, stands >= flush_no as before
from held
