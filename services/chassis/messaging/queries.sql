-- The concurrency contract of messages between services. Every statement that takes a lock is here.
--
-- outbox_keys has one row for each ordering key with messages to send; the row is deleted with the last message. Its row lock
-- protects the key. outbox has the messages; `seq` is their order within a key.
--
--   * enqueue locks the row of the key until its transaction commits. So the order of commits is the order of `seq`, and whoever
--     sees seq n sees all messages before it.
--   * A relay leases keys, not messages: two relays that lock messages could send those of one key in the wrong order. A lease is
--     `leased` with an `epoch`; it expires at `due_at`. Epochs come from a sequence, so that a key that is deleted and inserted
--     again gets a new one.
--   * hold locks the leased keys again, in a statement of its own. What the same transaction reads after it is complete, because
--     nobody else can have an uncommitted message of these keys. So a message that came during the lease is never lost.
--     For many keys at once there is hold_free, which skips locked keys; those are held one by one.
--   * While a key is leased, blocked or in backoff, enqueue leaves its `due_at` alone; release sets it for the new messages.
--
-- Rows chosen up to a :limit are found again by a list, `= any(array(select …))`: a join would be planned without knowing the
-- limit, and would read the whole table. The clock is read in a sub-select wherever it is compared with an indexed column,
-- because an index cannot be used with a bare volatile function.
--
-- Lock order: outbox_keys by key, then outbox. A transaction calls enqueue once, after it has taken all its other locks.
-- The inbox locks (source, message_id) by its unique index, before anything that the message changes.

-- name: enqueue
with incoming as materialized (
    select m.*, row_number() over (partition by m.key order by m.ordinal) as nth
    from unnest(
        cast(:ids as text[]), cast(:keys as text[]), cast(:services as text[]), cast(:methods as text[]),
        cast(:paths as text[]), cast(:names as text[]), cast(:bodies as text[]), cast(:settled_bys as text[]),
        cast(:delays as float8[]), cast(:acting_users as text[]), cast(:traceparents as text[])
    ) with ordinality as m(id, key, service, method, path, name, body, settled_by, delay_s, acting_user, traceparent, ordinal)
), moment as materialized (
    select coalesce(cast(:now as timestamptz), clock_timestamp()) as at
), keyed as (
    insert into outbox_keys as k (key, last_seq, due_at, waiting_since)
    select i.key, count(*), moment.at + min(i.delay_s) * interval '1 second',
           moment.at + min(i.delay_s) * interval '1 second'
    from incoming i cross join moment
    group by i.key, moment.at
    order by i.key
    on conflict (key) do update
        set last_seq = k.last_seq + excluded.last_seq,
            waiting_since = least(k.waiting_since, excluded.waiting_since),
            due_at = case
                when k.leased or k.attempts > 0 or k.blocked_at is not null then k.due_at
                else least(k.due_at, excluded.due_at)
            end
    returning k.key, k.last_seq
), counted as (
    select key, count(*) as n from incoming group by key
)
insert into outbox (id, key, seq, service, method, path, name, body, settled_by, due_at, acting_user, traceparent, created_at)
select i.id, i.key, keyed.last_seq - counted.n + i.nth, i.service, i.method, i.path, i.name, i.body,
       cast(i.settled_by as integer[]),
       case when i.delay_s > 0 then moment.at + i.delay_s * interval '1 second' end,
       i.acting_user, i.traceparent, moment.at
from incoming i
join keyed on keyed.key = i.key
join counted on counted.key = i.key
cross join moment

-- name: claim_keys
with due as materialized (
    select key
    from outbox_keys
    where due_at <= (select coalesce(cast(:now as timestamptz), clock_timestamp()))
    order by due_at
    limit :limit
    for no key update skip locked
)
update outbox_keys k
set leased = true,
    epoch = nextval('outbox_epoch'),
    due_at = coalesce(cast(:now as timestamptz), clock_timestamp()) + cast(:lease_s as float8) * interval '1 second'
where k.key = any(array(select key from due))
returning k.key, k.epoch, k.attempts

-- name: read_messages
select m.id, m.key, m.seq, m.service, m.method, m.path, m.name, m.body, m.settled_by, m.acting_user, m.traceparent,
       m.created_at
from unnest(cast(:keys as text[])) as wanted(key)
cross join lateral (
    select *
    from outbox o
    where o.key = wanted.key
      and (o.due_at is null or o.due_at <= coalesce(cast(:now as timestamptz), clock_timestamp()))
    order by o.seq
    limit :per_key
) m
order by m.key, m.seq

-- name: hold
select k.key
from outbox_keys k
join unnest(cast(:keys as text[]), cast(:epochs as bigint[])) as mine(key, epoch) on mine.key = k.key
where k.leased and k.epoch = mine.epoch
order by k.key
for update of k

-- name: hold_free
select k.key
from outbox_keys k
join unnest(cast(:keys as text[]), cast(:epochs as bigint[])) as mine(key, epoch) on mine.key = k.key
where k.leased and k.epoch = mine.epoch
order by k.key
for update of k skip locked

-- name: release
with delivered as (
    delete from outbox where id = any(cast(:delivered as text[]))
), mine as materialized (
    select m.key, m.attempts, m.pause_s, rest.next_due, rest.waiting_since
    from unnest(cast(:keys as text[]), cast(:attempts as integer[]), cast(:pauses as float8[])) as m(key, attempts, pause_s)
    cross join lateral (
        select min(coalesce(o.due_at, o.created_at)) as waiting_since,
               case when bool_or(o.due_at is null) then coalesce(cast(:now as timestamptz), clock_timestamp())
                    else min(o.due_at) end as next_due
        from outbox o
        where o.key = m.key and o.id <> all (cast(:delivered as text[]))
    ) rest
), emptied as (
    delete from outbox_keys k using mine where k.key = mine.key and mine.next_due is null
)
update outbox_keys k
set leased = false,
    attempts = mine.attempts,
    waiting_since = mine.waiting_since,
    due_at = greatest(
        mine.next_due,
        coalesce(cast(:now as timestamptz), clock_timestamp()) + mine.pause_s * interval '1 second'
    )
from mine
where k.key = mine.key and mine.next_due is not null
returning k.key, k.due_at <= coalesce(cast(:now as timestamptz), clock_timestamp()) as due

-- name: mark_dead
with dead as (
    update outbox o
    set dead_at = coalesce(cast(:now as timestamptz), clock_timestamp()), dead_code = d.code, dead_detail = d.detail
    from unnest(cast(:ids as text[]), cast(:codes as text[]), cast(:details as text[])) as d(id, code, detail)
    where o.id = d.id
    returning o.key
)
update outbox_keys k
set leased = false,
    due_at = null,
    attempts = 0,
    blocked_at = coalesce(cast(:now as timestamptz), clock_timestamp())
from dead
where k.key = dead.key

-- name: find_dead
-- Oldest first.
select o.id, o.key, o.service, o.method, o.path, o.name, o.created_at, o.dead_at, o.dead_code, o.dead_detail,
       (select count(*) from outbox behind where behind.key = o.key and behind.seq > o.seq) as held_up
from outbox o
where o.dead_at is not null and {conditions}
order by o.dead_at, o.id
limit :limit

-- name: behind
(o.dead_at, o.id) > (:dead_at, :id)

-- name: of_this_id
o.id = :id

-- name: free_key_of_dead
-- Lets the key of a dead letter go on. Nothing if it is no dead letter any more: who comes second waits for the key's row, and
-- finds that it is not blocked. The row stays locked, and then the dead letter is revived or discarded.
update outbox_keys k
set blocked_at = null, due_at = coalesce(cast(:now as timestamptz), clock_timestamp())
from outbox o
where o.id = :id and o.dead_at is not null and k.key = o.key and k.blocked_at is not null
returning o.id, o.key, o.name

-- name: revive_dead
-- It is the next message of its key.
update outbox set dead_at = null, dead_code = null, dead_detail = null where id = :id

-- name: discard_dead
-- What follows it is the next message of its key; a relay deletes a key that has none.
delete from outbox where id = :id

-- name: measure_outbox
-- The oldest key is the first entry of an index, however many keys there are. Dead letters are counted one by one: they are few.
select extract(epoch from greatest(interval '0', coalesce(cast(:now as timestamptz), clock_timestamp()) - (
           select waiting_since from outbox_keys where blocked_at is null order by waiting_since limit 1
       ))) as lag_s,
       (select count(*) from outbox where dead_at is not null) as dead

-- name: first_time
insert into inbox (source, message_id, received_at)
values (:source, :message_id, coalesce(cast(:now as timestamptz), clock_timestamp()))
on conflict do nothing
returning message_id

-- name: purge_inbox
with old as materialized (
    select ctid
    from inbox
    where received_at < (select coalesce(cast(:now as timestamptz), clock_timestamp())) - :kept_days * interval '1 day'
    order by received_at
    limit :limit
    for update skip locked
)
delete from inbox where ctid = any(array(select ctid from old))
