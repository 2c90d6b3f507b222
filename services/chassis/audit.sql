-- The audit log: rows that are only ever added; no statement locks one.

-- name: record
insert into audit (at, action, subject_id, actor, reason, details)
values (coalesce(cast(:now as timestamptz), clock_timestamp()), :action, :subject_id, :actor, :reason,
        cast(:details as jsonb))

-- name: find
select id, at, action, subject_id, actor, reason, details
from audit
where (cast(:subject_id as text) is null or subject_id = :subject_id)
  and (cast(:cursor as bigint) is null or id < :cursor)
order by id desc
limit :limit
