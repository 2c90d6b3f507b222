-- The concurrency contract of the engine. Every statement that takes a lock is here, in flush.sql, erasure.sql or awaiting.sql.
-- The row of a saga is its lock. A transaction that changes anything of a saga (its log, its undos, its signals, its state) locks
-- that row first. So a decision under the lock is made once, and never on stale data.
--   * A lease is `run_state = 'leased'` with an `epoch`; it expires at `due_at`. Every claim and every cancel makes a new epoch.
--     Every write of a holder names its epoch, and writes nothing if the row has another one.
--   * flush_no is the number of the last flush of the holder. If a flush is sent again because its answer was lost, the row has
--     its number already: it was applied.
--   * signal_no counts the settled signals of the saga. A holder that suspends, or closes a signal, says how many it knows. If the
--     row counts more, nothing is written, and the holder looks again. The lock gives the latest version of the row: so checking
--     for a signal and beginning to wait are one atomic step.
--   * due_at says when the saga is to be claimed: wake-up, retry, timer, delayed start, or expiry of a lease. Null: time alone
--     never makes it due.
-- Lock order: the idempotency key of a request, sagas by id, their rows in other tables, outbox_keys by key. A statement that locks
-- several sagas does so in one materialised CTE ordered by id. Claims skip locked rows, and so never wait.
-- Rows chosen up to a :limit are found again by a list, `= any(array(select …))`. A join would be planned without knowing the limit,
-- for a thirtieth of the table, and would read the other table as a whole.
-- The clock is clock_timestamp() of the database, or :now in tests. It is read in a sub-select, once per statement, because an
-- index cannot be used with a bare volatile function.

-- name: insert_sagas
-- Starts sagas; those that exist already are left alone and not returned. A saga that runs here at once is leased by its insert.
insert into sagas (id, workflow, version, key, subject, parent_id, traceparent, phase, run_state, epoch, flush_no, signal_no,
                   undo_no, takeovers, faults, no_return, alone, due_at, owner, created_at, updated_at, input)
select n.id, n.workflow, n.version, n.key, n.subject, n.parent_id, n.traceparent, 'forward',
       case when n.leased then 'leased' else 'ready' end, n.leased::integer, 0, 0, 0, 0, 0, false, false,
       moment.at + (case when n.leased then cast(:lease_s as float8) else n.delay_s end) * interval '1 second',
       case when n.leased then cast(:owner as text) end, moment.at, moment.at, n.input
from unnest(cast(:sagas as saga_start[])) as n
cross join (select coalesce(cast(:now as timestamptz), clock_timestamp()) as at) as moment
order by n.id
on conflict (id) do nothing
returning id, created_at

-- name: claim
-- Leases up to :limit sagas that are due, in versions that this replica has, longest due first. An expired lease counts as a loss
-- of its saga. For a suspect it counts only if the saga was running (`alone`), and not waiting in the quarantine: so no saga is
-- parked for another one that killed the replica.
with moment as materialized (
    select coalesce(cast(:now as timestamptz), clock_timestamp()) as at
), due as materialized (
    select id, run_state as was
    from sagas
    where due_at <= (select at from moment)
      and workflow || '@' || version = any(cast(:versions as text[]))
    order by due_at
    limit :limit
    for no key update skip locked
)
update sagas s
set run_state = 'leased',
    epoch = s.epoch + 1,
    owner = :owner,
    due_at = moment.at + cast(:lease_s as float8) * interval '1 second',
    takeovers = s.takeovers + (due.was = 'leased' and (s.takeovers < :suspect or s.alone))::integer,
    alone = false,
    updated_at = moment.at
from due cross join moment
where s.id = any(array(select id from due)) and s.id = due.id
returning s.id, s.workflow, s.version, s.key, s.subject, s.input, s.phase, s.run_state, s.outcome, s.epoch, s.flush_no,
          s.signal_no, s.undo_no, s.takeovers, s.faults, s.no_return, s.created_at, moment.at as claimed_at, s.calls,
          s.error_code, s.error_message, s.attention, s.progress, s.traceparent, s.awaited

-- name: isolate
-- Records that a suspect leaves the queue of the quarantine and runs now; returns nothing if the lease is lost.
update sagas set alone = true
where id = :id and epoch = :epoch and run_state = 'leased'
returning id

-- name: heartbeat
-- Extends leases. Returns the sagas that still have their epoch (also if they have just been suspended), their losses, and the time.
-- Locked rows are skipped, so that one of them cannot cost the leases of all others.
with held as materialized (
    select s.id, s.run_state
    from sagas s
    join unnest(cast(:ids as uuid[]), cast(:epochs as bigint[])) as h(id, epoch) on h.id = s.id
    where s.epoch = h.epoch
    order by s.id
    for no key update of s skip locked
), moment as materialized (
    select coalesce(cast(:now as timestamptz), clock_timestamp()) as at
), beaten as (
    update sagas s
    set due_at = moment.at + cast(:lease_s as float8) * interval '1 second'
    from held cross join moment
    where s.id = held.id and held.run_state = 'leased'
)
select s.id, s.takeovers, held.id is null as locked, coalesce(held.run_state = 'leased', false) as extended, moment.at
from sagas s
join unnest(cast(:ids as uuid[]), cast(:epochs as bigint[])) as h(id, epoch) on h.id = s.id and h.epoch = s.epoch
left join held on held.id = s.id
cross join moment

-- name: release
-- Gives leases back: at shutdown, or after the holder has missed its heartbeats and stopped. The owner is compared too: a turn that
-- began in memory may never have taken its lease, and another replica may hold that epoch.
with held as materialized (
    select s.id
    from sagas s
    join unnest(cast(:ids as uuid[]), cast(:epochs as bigint[])) as h(id, epoch) on h.id = s.id
    where s.epoch = h.epoch and s.run_state = 'leased' and s.owner = :owner
    order by s.id
    for no key update of s skip locked
)
update sagas s
set run_state = 'ready', owner = null,
    due_at = coalesce(cast(:now as timestamptz), clock_timestamp())
from held
where s.id = held.id
returning s.id

-- name: excuse
-- Takes back the loss that the next claim has counted, for sagas whose holder lives and was only cut off. Sent again, it changes
-- nothing. Locked rows are skipped.
with held as materialized (
    select s.id, h.takeovers
    from sagas s
    join unnest(cast(:ids as uuid[]), cast(:epochs as bigint[]), cast(:takeovers as integer[])) as h(id, epoch, takeovers)
        on h.id = s.id
    where s.epoch = h.epoch + 1 and s.takeovers = h.takeovers + 1
    order by s.id
    for no key update of s skip locked
)
update sagas s
set takeovers = held.takeovers
from held
where s.id = held.id
returning s.id

-- name: lock_saga
-- Locks one saga for an operation or a settlement; what is read after it in the same transaction cannot change.
select id, workflow, version, key, subject, input, phase, run_state, outcome, epoch, flush_no, signal_no, undo_no, takeovers,
       faults, no_return, created_at, coalesce(cast(:now as timestamptz), clock_timestamp()) as claimed_at, calls,
       error_code, error_message, attention, progress, traceparent, awaited
from sagas
where id = :id
for no key update

-- name: settle
-- Settles open signals, and promises without a row, of sagas that go forward; counts them, makes waiting sagas due, and returns what
-- it has settled. A signal that is not returned was settled, or its saga left `forward`, before this statement had the lock: nothing
-- is written for it.
with wanted as (
    select * from unnest(cast(:settlements as signal_proposal[]))
), held as materialized (
    select s.id, s.run_state = 'waiting' as waits
    from sagas s
    where s.id in (select saga_id from wanted) and s.phase = 'forward'
    order by s.id
    for no key update of s
), moment as materialized (
    select coalesce(cast(:now as timestamptz), clock_timestamp()) as at
), settled as (
    insert into signals as g (saga_id, name, kind, status, shape, value, error_code, error_message, identity, opened_at,
                              settled_by, settled_at)
    select w.saga_id, w.name, w.kind, w.status, '', w.value, w.error_code, w.error_message, w.identity, moment.at,
           w.settled_by, moment.at
    from wanted w join held on held.id = w.saga_id cross join moment
    order by w.saga_id, w.name
    on conflict (saga_id, name) do update
        set status = excluded.status,
            value = excluded.value,
            error_code = excluded.error_code,
            error_message = excluded.error_message,
            identity = excluded.identity,
            settled_by = excluded.settled_by,
            settled_at = excluded.settled_at
        where g.status = 'open'
          and g.kind = excluded.kind
    returning g.saga_id, g.name, g.kind, g.status, g.identity, g.settled_by, g.error_message
), woken as (
    update sagas s
    set signal_no = s.signal_no + news.count,
        run_state = case when news.waits then 'ready' else s.run_state end,
        due_at = case when news.waits then moment.at else s.due_at end,
        updated_at = moment.at
    from (
        select held.id, count(*)::integer as count, bool_and(held.waits) as waits
        from settled join held on held.id = settled.saga_id
        group by held.id
    ) as news cross join moment
    where s.id = news.id
    returning s.id, s.epoch, s.signal_no, news.waits
), told as (
    insert into audit (at, action, subject_id, actor, reason, details)
    select moment.at, settled.kind || '.' || settled.status, settled.saga_id::text, settled.settled_by, settled.error_message,
           jsonb_build_object('name', settled.name, 'identity', settled.identity)
    from settled cross join moment
)
select settled.saga_id, settled.name, moment.at, woken.epoch, woken.signal_no, woken.waits
from settled join woken on woken.id = settled.saga_id cross join moment

-- name: operate
-- An operator's or a cancel's change of state; under lock_saga. A new epoch ends any lease.
update sagas
set phase = :phase,
    run_state = cast(:run_state as text),
    outcome = :outcome,
    epoch = epoch + 1,
    due_at = :due_at,
    owner = null,
    takeovers = 0,
    faults = 0,
    calls = :calls,
    waits = case when cast(:run_state as text) = 'paused' then waits end,
    attention = null,
    error_code = :error_code,
    error_message = :error_message,
    updated_at = :at
where id = :id

-- name: end_leases
-- Ends the leases of up to :lease_s seconds of an owner that is no more; the next claims count them as lost.
with moment as materialized (
    select coalesce(cast(:now as timestamptz), clock_timestamp()) as at
), held as materialized (
    select id
    from sagas
    where due_at between (select at from moment) and (select at + cast(:lease_s as float8) * interval '1 second' from moment)
      and owner = :owner and run_state = 'leased'
    order by id
    for no key update skip locked
)
update sagas
set due_at = (select at from moment)
from held
where sagas.id = held.id

-- name: expire_signals
-- Closes open signals whose deadline has passed; the flush has made sure that none was settled meanwhile.
update signals
set status = 'expired', settled_at = coalesce(cast(:now as timestamptz), clock_timestamp()), settled_by = 'engine'
from unnest(cast(:saga_ids as uuid[]), cast(:names as text[])) as expired(saga_id, name)
where signals.saga_id = expired.saga_id and signals.name = expired.name and signals.status = 'open'

-- name: insert_step
-- Writes one record of the log by hand; under lock_saga.
insert into steps (saga_id, position, kind, name, attempts, started_at, finished_at, output, error_code, error_message)
values (:saga_id, :position, :kind, :name, :attempts, :started_at, :finished_at, :output, :error_code, :error_message)

-- name: correct_step
-- Gives a step that was skipped another output; under lock_saga.
update steps
set output = :output
where saga_id = :saga_id and position = :position and kind in ('step', 'transaction') and output is not null

-- name: drop_steps
-- Takes records out of a log that is run anew from some position on; under lock_saga.
delete from steps
where saga_id = :saga_id and position = any(cast(:positions as text[]))

-- name: drop_waived_undos
-- Forgets undos of steps that were refused, which are run anew and register theirs again; under lock_saga.
delete from compensations
where saga_id = :saga_id and seq = any(cast(:seqs as integer[])) and status = 'waived'

-- name: count_undos_anew
-- Forgets the attempts of the undos that a saga owes; under lock_saga.
update compensations
set attempts = 0
where saga_id = :saga_id and status = 'owed'

-- name: skip_undo
-- Settles an undo that its saga owes without doing it; under lock_saga.
update compensations
set status = 'skipped', error_code = 'skipped', error_message = :reason, finished_at = :at
where saga_id = :saga_id and seq = :seq

-- name: delete_finished
-- Removes whole sagas that ended before :before, oldest first; closed awakeables stay, so that late money finds its owner. One whose
-- end somebody is yet to be told of stays too, and so does one as long as a caller lives, who may have to undo what it has completed.
with old as materialized (
    select id
    from sagas
    where finished_at < :before and not awaited
      and (
          select count(*)
          from signals g
          join sagas caller on caller.id = g.saga_id
          where g.kind = 'child' and g.name = cast(sagas.id as text) and caller.phase <> 'ended'
      ) = 0
    order by finished_at
    limit :limit
    for update skip locked
), log as (
    delete from steps where saga_id = any(array(select id from old))
), undone as (
    delete from compensations where saga_id = any(array(select id from old))
), promised as (
    delete from signals where saga_id = any(array(select id from old)) and kind in ('promise', 'child')
)
delete from sagas where id = any(array(select id from old))
returning id
