-- The audit log: rows that are only ever added; no statement locks one.

-- name: record
insert into audit (at, action, subject_id, actor, reason, details)
values (coalesce(cast(:now as timestamptz), clock_timestamp()), :action, :subject_id, :actor, :reason,
        cast(:details as jsonb))

-- name: is_recorded
select exists (
    select from audit
    where subject_id = :subject_id and action = :action and details @> cast(:details as jsonb)
      and at > coalesce(cast(:since as timestamptz), '-infinity')
) as found

-- name: find
-- Newest first. It is narrowed by the conditions below, and not by values that may be null: a plan that fits both reads all.
select id, at, action, subject_id, actor, reason, details
from audit
where {conditions}
order by id desc
limit :limit

-- name: of_subject
subject_id = :subject_id

-- name: before
id < :cursor
