-- Idempotency keys. Lock order: the advisory lock of the key first, then whatever the request itself locks.
--
-- lock is a statement of its own, before recall: recall must see what the former holder of the lock has committed. The lock ends
-- with the transaction, so that a request that died holds none, and it survives poolers.

-- name: lock
select pg_try_advisory_xact_lock(:number) as is_ours

-- name: recall
select fingerprint, status, body, headers
from idempotency
where caller = :caller and route = :route and key = :key
  and created_at > coalesce(cast(:now as timestamptz), clock_timestamp()) - :kept_days * interval '1 day'

-- name: store
insert into idempotency as i (caller, route, key, fingerprint, status, body, headers, created_at)
values (:caller, :route, :key, :fingerprint, :status, :body, cast(cast(:headers as text) as jsonb),
        coalesce(cast(:now as timestamptz), clock_timestamp()))
on conflict (caller, route, key) do update
    set fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body,
        headers = excluded.headers, created_at = excluded.created_at
    where i.created_at <= excluded.created_at - :kept_days * interval '1 day'

-- name: purge
with old as materialized (
    select caller, route, key
    from idempotency
    where created_at < coalesce(cast(:now as timestamptz), clock_timestamp()) - :older_than_days * interval '1 day'
    order by created_at
    limit :limit
    for update skip locked
)
delete from idempotency i using old where i.caller = old.caller and i.route = old.route and i.key = old.key
