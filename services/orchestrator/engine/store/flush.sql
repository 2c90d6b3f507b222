-- The flush, under the contract of queries.sql: it locks sagas by id, then writes their rows in the other tables.

-- name: flush
-- Writes the flushes of many sagas: locks their rows if they have the epochs of the flushes, then writes for those. Returns one row
-- per flush whose saga has its epoch, by the place of the flush in the batch: `fresh` if this statement has applied it, `before` if
-- an earlier one had. One batch may have flushes of two leases of one saga: so rows of other tables name the place of their flush,
-- not the saga. A change of an undo finds its row because an undo is registered by an earlier flush than its change. With `lease_s`
-- a flush names the epoch before its own, under which the saga suspended, and takes the lease. A signal that it settles is still
-- open, because `knows` must equal signal_no. A loss that was excused in between stays excused, as the holder may not know of that.
with held as materialized (
    select s.flush_no as stands, s.signal_no as counted, f.*, f.ordinality as no
    from sagas s
    join unnest(cast(:flushes as saga_write[])) with ordinality as f on f.id = s.id
    where s.epoch = f.epoch and (f.lease_s is null or s.run_state in ('waiting', 'ready'))
    order by s.id
    for no key update of s
), fresh as materialized (
    select * from held where stands < flush_no and (knows is null or knows = counted)
), logged as (
    insert into steps (saga_id, position, kind, name, attempts, started_at, finished_at, output, error_code, error_message)
    select fresh.id, r.position, r.kind, r.name, r.attempts, to_timestamp(r.started_at), to_timestamp(r.finished_at), r.output,
           r.error_code, r.error_message
    from unnest(cast(:records as step_record[])) as r
    join fresh on fresh.no = r.flush
), registered as (
    insert into compensations (saga_id, seq, name, position, step_position, args, status, attempts)
    select fresh.id, u.seq, u.name, u.position, u.step_position, u.args, 'owed', 0
    from unnest(cast(:undos as undo_record[])) as u
    join fresh on fresh.no = u.flush
), changed as (
    update compensations c
    set status = u.status, attempts = u.attempts, error_code = u.error_code, error_message = u.error_message,
        started_at = u.started_at, finished_at = u.finished_at
    from unnest(cast(:undo_changes as undo_change[])) as u
    join fresh on fresh.no = u.flush
    where c.saga_id = fresh.id and c.position = u.position
), opened as (
    insert into signals as g (saga_id, name, kind, status, shape, expects, opened_at, until)
    select fresh.id, o.name, o.kind, 'open', o.shape, o.expects, o.opened_at, o.until
    from unnest(cast(:opened as signal_opening[])) as o
    join fresh on fresh.no = o.flush
    on conflict (saga_id, name) do update set until = excluded.until where g.status = 'open'
), settled as (
    insert into signals as g (saga_id, name, kind, status, shape, expects, value, error_code, error_message, identity, opened_at,
                              until, settled_by, settled_at)
    select fresh.id, w.name, w.kind, w.status, w.shape, w.expects, w.value, w.error_code, w.error_message, w.identity, w.opened_at,
           w.until, w.settled_by, w.settled_at
    from unnest(cast(:settled as signal_write[])) as w
    join fresh on fresh.no = w.flush
    on conflict (saga_id, name) do update
        set status = excluded.status, value = excluded.value, error_code = excluded.error_code,
            error_message = excluded.error_message, identity = excluded.identity, settled_by = excluded.settled_by,
            settled_at = excluded.settled_at
    returning g.saga_id, g.name, g.kind, g.status, g.identity, g.settled_by, g.error_message, g.settled_at
), told as (
    insert into audit (at, action, subject_id, actor, reason, details)
    select settled_at, kind || '.' || status, saga_id::text, settled_by, error_message,
           jsonb_build_object('name', name, 'identity', identity)
    from settled
), moment as materialized (
    select coalesce(cast(:now as timestamptz), clock_timestamp()) as at
), written as (
    update sagas s
    set phase = f.phase,
        run_state = f.run_state,
        outcome = f.outcome,
        epoch = s.epoch + (f.lease_s is not null)::integer,
        flush_no = f.flush_no,
        signal_no = s.signal_no + f.closes,
        due_at = case when f.run_state <> 'leased' then f.due_at
                      when f.lease_s is null then s.due_at
                      else moment.at + f.lease_s * interval '1 second' end,
        owner = case when f.run_state = 'leased' then coalesce(f.owner, s.owner) end,
        undo_no = f.undo_no,
        takeovers = least(s.takeovers, f.takeovers),
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
