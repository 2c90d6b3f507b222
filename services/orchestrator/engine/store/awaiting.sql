-- Who waits for the ends of sagas, under the contract of queries.sql: whoever adds a row of awaiting, or takes one out, holds the saga
-- that ends. `sagas.awaited` says whether there is any; it is false only if there is none. So the end of an awaited saga, of which the
-- flush knows nothing, puts it into the index sagas_awaited_ends, and it stays there until all are told.

-- name: start_called
-- Starts sagas whose ends their parents wait for, and notes who waits. One that exists already stays as it is, but is awaited: its row
-- is held until that is written, so that no end of it, and no clean-up, can pass between. It is the one lock that is taken out of
-- order, behind those of the flush: who waits in a ring because of that, and is ended by Postgres, writes its flush again.
with called as (
    insert into sagas (id, workflow, version, key, subject, parent_id, traceparent, phase, run_state, epoch, flush_no, signal_no,
                       undo_no, takeovers, faults, no_return, alone, due_at, created_at, updated_at, input, awaited)
    select n.id, n.workflow, n.version, n.key, n.subject, n.parent_id, n.traceparent, 'forward', 'ready', 0, 0, 0, 0, 0, 0, false,
           false, moment.at + n.delay_s * interval '1 second', moment.at, moment.at, n.input, true
    from unnest(cast(:sagas as saga_start[])) as n
    cross join (select coalesce(cast(:now as timestamptz), clock_timestamp()) as at) as moment
    order by n.id
    on conflict (id) do update set awaited = true
)
insert into awaiting (child_id, parent_id)
select * from unnest(cast(:child_ids as uuid[]), cast(:parent_ids as uuid[]))
on conflict do nothing

-- name: hold_ended
-- Locks ended sagas before their waits are deleted; a saga that is being called now is locked, and skipped.
select id
from sagas
where id = any(cast(:ids as uuid[])) and phase = 'ended'
order by id
for no key update skip locked

-- name: forget_awaiting
-- Deletes the waits whose signals are settled; under hold_ended.
delete from awaiting
where child_id = any(cast(:child_ids as uuid[]))
  and (child_id, parent_id) in (select * from unnest(cast(:child_ids as uuid[]), cast(:parent_ids as uuid[])))

-- name: await_no_more
-- Clears `awaited` of sagas that nobody waits for; under hold_ended. It is a statement of its own, so that it sees calls that were
-- committed after the ends were read.
update sagas
set awaited = false
where id = any(cast(:ids as uuid[]))
  and id <> all(array(select child_id from awaiting where child_id = any(cast(:ids as uuid[]))))

-- name: awaited_ends
-- Reads ended sagas that others may still wait for, with their results.
select id, outcome, output, error_code, error_message, input = :erased as erased
from sagas
where phase = 'ended' and awaited
order by id
limit :limit

-- name: awaiting_of
-- Reads who waits for the ends of sagas.
select child_id, parent_id
from awaiting
where child_id = any(cast(:saga_ids as uuid[]))
limit :limit
