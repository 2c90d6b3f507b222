-- Idempotency keys. Lock order: the advisory lock of the key first, then whatever the request itself locks.
--
-- The lock is taken as the transaction begins, before recall: recall must see what the former holder of the lock has committed.
-- It ends with the transaction, so that a request that died holds none, and it survives poolers.

-- name: recall
select fingerprint, status, body, headers
from idempotency
where caller = :caller and route = :route and key = :key
  and created_at > coalesce(cast(:now as timestamptz), clock_timestamp()) - :kept_days * interval '1 day'

-- name: store
insert into idempotency as i (caller, route, key, fingerprint, status, body, headers, created_at)
values (:caller, :route, :key, :fingerprint, :status, :body, cast(:headers as jsonb),
        coalesce(cast(:now as timestamptz), clock_timestamp()))
on conflict (caller, route, key) do update
    set fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body,
        headers = excluded.headers, created_at = excluded.created_at
    where i.created_at <= excluded.created_at - :kept_days * interval '1 day'
returning key

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
