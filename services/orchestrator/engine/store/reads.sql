-- What the engine reads. Nothing here takes a lock: what must not change under a reader is decided by queries.sql.

-- name: logs_of
-- Reads the logs of sagas that are replayed.
select saga_id, position, kind, name, attempts, started_at, finished_at, output, error_code, error_message
from steps
where saga_id = any(cast(:saga_ids as uuid[]))

-- name: states_of
-- Reads what sagas have written of their state, and the winners that say whose writes count.
select saga_id, position, kind, name, attempts, started_at, finished_at, output, error_code, error_message
from steps
where saga_id = any(cast(:saga_ids as uuid[])) and kind in ('state', 'select')

-- name: news_of
-- Reads how many signals of sagas have been settled, and these; a saga without any has one row without a name.
select s.id, s.signal_no, g.saga_id, g.name, g.kind, g.status, g.shape, g.expects, g.value, g.error_code, g.error_message,
       g.identity, g.opened_at, g.until, g.settled_by, g.settled_at
from sagas s
left join signals g on g.saga_id = s.id and g.status <> 'open'
where s.id = any(cast(:saga_ids as uuid[]))

-- name: look_up
-- Reads signals that somebody wants to settle, and what their sagas are. It takes no lock: what is decided by it never changes,
-- and whether a signal is still open `settle` finds out.
select w.saga_id as of_saga, w.name as of_name, s.workflow, s.version, s.key, s.phase, g.saga_id, g.name, g.kind, g.status, g.shape,
       g.expects, g.value, g.error_code, g.error_message, g.identity, g.opened_at, g.until, g.settled_by, g.settled_at
from unnest(cast(:saga_ids as uuid[]), cast(:names as text[])) as w(saga_id, name)
left join sagas s on s.id = w.saga_id
left join signals g on g.saga_id = w.saga_id and g.name = w.name

-- name: undos_of
-- Reads undos in the order of registration, with the results of their steps.
select c.*, s.output as step_output
from compensations c
left join steps s on s.saga_id = c.saga_id and s.position = c.step_position
where c.saga_id = any(cast(:saga_ids as uuid[]))
order by c.saga_id, c.seq

-- name: ended_of
-- Reads which of some sagas have ended.
select id
from sagas
where id = any(cast(:saga_ids as uuid[])) and finished_at is not null

-- name: sagas_of
-- Reads sagas for people, with what is known of their undos, in the order of registration.
select s.*, u.names as undo_names, u.positions as undo_positions, u.statuses as undo_statuses, u.attempts as undo_attempts,
       u.error_codes as undo_error_codes, u.error_messages as undo_error_messages, u.ended as undo_ended
from sagas s
left join lateral (
    select array_agg(c.name) as names, array_agg(c.position) as positions, array_agg(c.status) as statuses,
           array_agg(c.attempts) as attempts, array_agg(c.error_code) as error_codes,
           array_agg(c.error_message) as error_messages, array_agg(c.finished_at is not null) as ended
    from (select * from compensations where saga_id = s.id order by seq) c
) u on s.undo_no > 0
where s.id = any(cast(:saga_ids as uuid[]))

-- name: started_with
-- Reads the inputs that sagas were started with, and how they stand.
select id, input, phase, run_state, outcome, epoch
from sagas
where id = any(cast(:saga_ids as uuid[]))

-- name: signal
-- Reads one signal.
select *
from signals
where saga_id = :saga_id and name = :name

-- name: open_promises
-- Reads the sagas that wait for a promise, the longest waiting first; inputs that do not fit on the page are null.
with waiting as materialized (
    select g.saga_id, s.key, s.input, s.subject, g.opened_at as since, g.until
    from signals g
    join sagas s on s.id = g.saga_id
    where g.kind = 'promise' and g.status = 'open' and s.phase = 'forward' and g.name = :name and {conditions}
    order by g.opened_at, g.saga_id
    limit :limit
), placed as (
    select *, sum(octet_length(input)) over (order by since, saga_id) - octet_length(input) as bytes_before
    from waiting
)
select saga_id, key, case when bytes_before < :bytes_max then input end as input, subject, since, until
from placed
order by since, saga_id

-- name: behind
-- Goes on behind the last one of the page before.
(g.opened_at, g.saga_id) > (cast(:since as timestamptz), cast(:saga_id as uuid))

-- name: count_open_promises
-- Counts the sagas that wait for a promise.
select count(*)
from signals g
join sagas s on s.id = g.saga_id
where g.kind = 'promise' and g.status = 'open' and s.phase = 'forward' and g.name = :name
