-- Erasing a subject. The lock order is that of queries.sql: sagas by id, then their rows. Only ended sagas are touched, which nobody
-- else writes to any more but the janitor, who skips what is locked.

-- name: erase
-- Blanks the payloads of up to :limit ended sagas of a subject. Keys, states and identities stay, so that a repeated request does not
-- start or settle anything again. A live saga keeps its payloads. So does an ended saga as long as a caller of it lives, even one that
-- no longer waits: the undo of the call gets the output. The results that ended callers have of it are blanked with it.
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
-- Counts the sagas of a subject that are not erased: those that have not ended, or ended just now, or have live callers.
select count(*)
from sagas
where subject = :subject and (phase <> 'ended' or awaited or input <> :erased)
