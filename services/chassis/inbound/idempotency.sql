-- Idempotency keys. Lock order: the advisory lock of the key first, then whatever the request itself locks.
--
-- The lock is taken as the transaction begins, before recall: recall must see what the former holder of the lock has committed.
-- It ends with the transaction, so that a request that died holds none, and it survives poolers.
--
-- Work that takes longer than a transaction claims its key with its first write instead: it stores that the request is still
-- running, with a Retry-After, which no answer has. A request with other content finds this claim, or waits for its commit. A
-- release that knows no claims would return it as the answer: come again.

-- name: recall
select fingerprint, status, body, headers
from idempotency
where caller = :caller and route = :route and key = :key
  and created_at > coalesce(cast(:now as timestamptz), clock_timestamp()) - :kept_days * interval '1 day'

-- name: store
-- Stores an answer or a claim. It replaces a claim of the same content; otherwise, if the key has a row, it returns nothing.
insert into idempotency as i (caller, route, key, fingerprint, status, body, headers, created_at)
values (:caller, :route, :key, :fingerprint, :status, :body, cast(:headers as jsonb),
        coalesce(cast(:now as timestamptz), clock_timestamp()))
on conflict (caller, route, key) do update
    set fingerprint = excluded.fingerprint, status = excluded.status, body = excluded.body,
        headers = excluded.headers, created_at = excluded.created_at
    where i.created_at <= excluded.created_at - :kept_days * interval '1 day'
       or i.headers ? 'Retry-After' and i.fingerprint = any(cast(:fingerprints as text[]))
returning key

-- name: purge
-- The clock is read in a sub-select, because no index is compared with a bare volatile function; and what is chosen is found again by
-- a list, because a join would be planned for more rows than the limit. Either would read the whole table.
with old as materialized (
    select ctid
    from idempotency
    where created_at < (select coalesce(cast(:now as timestamptz), clock_timestamp())) - :kept_days * interval '1 day'
    order by created_at
    limit :limit
    for update skip locked
)
delete from idempotency where ctid = any(array(select ctid from old))
