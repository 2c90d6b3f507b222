-- Erasing a subject. The lock order is that of queries.sql: sagas by id, then their rows. Only ended sagas are touched, which nobody
-- else writes to any more but the janitor, who skips what is locked.

-- name: erase
-- Blanks the payloads of a subject's ended sagas, up to :limit; keys, states and identities stay, so that nothing that is told
-- once more starts or settles anything anew. A saga that lives keeps its payloads: it still needs them. So does one that has ended as
-- long as a caller lives, even one that has given up waiting: the undo of a call is given its output. What it has given to callers that
-- have ended goes with it.
with held as materialized (
    select id
    from sagas
    where subject = :subject and phase = 'ended' and input <> :erased and not awaited
      and (
          select count(*)
          from signals g
          join sagas caller on caller.id = g.saga_id
          where g.kind = 'child' and g.name = cast(sagas.id as text) and caller.phase <> 'ended'
      ) = 0
    order by id
    limit :limit
    for no key update
), log as (
    update steps
    set output = case when output is not null then 'null' end,
        error_message = case when error_message is not null then '' end
    where saga_id = any(array(select id from held))
), undone as (
    update compensations
    set args = '[]', error_message = case when error_message is not null then '' end
    where saga_id = any(array(select id from held))
), settled as (
    update signals
    set value = case when value is not null then 'null' end,
        error_message = case when error_message is not null then '' end
    where saga_id = any(array(select id from held))
), handed_on as (
    update signals g
    set value = case when g.value is not null then 'null' end,
        error_message = case when g.error_message is not null then '' end
    from sagas caller
    where g.kind = 'child' and g.name = any(array(select cast(id as text) from held))
      and caller.id = g.saga_id and caller.phase = 'ended' and g.saga_id <> all(array(select id from held))
)
update sagas
set input = :erased,
    output = case when output is not null then 'null' end,
    error_message = case when error_message is not null then '' end,
    progress = null
where id = any(array(select id from held))
returning id

-- name: count_left
-- Counts a subject's sagas that have not been erased: they have not ended, or did so only just now, or their callers have not.
select count(*)
from sagas
where subject = :subject and (phase <> 'ended' or awaited or input <> :erased)
