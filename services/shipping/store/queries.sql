-- Every statement of shipping that takes a lock, one after another.
--
-- Lock order: the idempotency key of a create, then one row of `shipments` per transaction (sweep_owed: several, skipping locked
-- ones), and nothing after it: the key is claimed with the lease, and its answer is stored later, in a transaction of its own.
-- No transaction is open during a call to the carrier; the lease and the epoch of the row protect it instead. A write after a
-- call names the epoch of its lease, so that a holder whose lease has lapsed changes nothing.
-- `:now` is null in production: the database's clock decides.

-- name: open_leased
-- The row of an order that nobody has asked for yet, and its lease with it.
with moment as materialized (
    select coalesce(cast(:now as timestamptz), clock_timestamp()) as at
)
insert into shipments (
    order_id, status, shipment_id, attempt, fingerprint, epoch, leased_until, created_at, updated_at
)
select
    :order_id, 'creating', :shipment_id, :attempt, :fingerprint, 1, at + make_interval(secs => :lease_s), at, at
from moment
on conflict (order_id) do nothing
returning epoch

-- name: lock_row
select
    order_id, status, shipment_id, fingerprint, carrier, parcel_id, tracking_number, refusal, uncertain, undo_owed, epoch,
    case
        when leased_until is null then 'free'
        when leased_until > coalesce(cast(:now as timestamptz), clock_timestamp()) then 'held'
        else 'lapsed'
    end as lease
from shipments
where order_id = :order_id
for no key update

-- name: find_row
-- Without a lock.
select
    order_id, status, shipment_id, fingerprint, carrier, parcel_id, tracking_number, refusal, uncertain, undo_owed, epoch,
    case
        when leased_until is null then 'free'
        when leased_until > coalesce(cast(:now as timestamptz), clock_timestamp()) then 'held'
        else 'lapsed'
    end as lease
from shipments
where order_id = :order_id

-- name: take_lease
-- A lapsed lease means that a call may have been sent by a process that died: its outcome is unknown.
update shipments
set epoch = epoch + 1,
    uncertain = uncertain or leased_until is not null,
    leased_until = coalesce(cast(:now as timestamptz), clock_timestamp()) + make_interval(secs => :lease_s),
    updated_at = coalesce(cast(:now as timestamptz), clock_timestamp())
where order_id = :order_id and status = 'creating'
returning epoch, uncertain

-- name: give_back_lease
update shipments
set leased_until = null,
    uncertain = uncertain or :uncertain,
    updated_at = coalesce(cast(:now as timestamptz), clock_timestamp())
where order_id = :order_id and epoch = :epoch and status = 'creating'

-- name: register
update shipments
set status = case when :delivered then 'delivered' else 'registered' end,
    carrier = :carrier,
    parcel_id = :parcel_id,
    tracking_number = :tracking_number,
    leased_until = null,
    updated_at = coalesce(cast(:now as timestamptz), clock_timestamp())
where order_id = :order_id and epoch = :epoch and status = 'creating'
returning
    order_id, status, shipment_id, fingerprint, carrier, parcel_id, tracking_number, refusal, uncertain, undo_owed, epoch,
    'free' as lease

-- name: refuse
update shipments
set status = 'refused',
    refusal = :refusal,
    undo_owed = :undo_owed,
    epoch = epoch + 1,
    leased_until = null,
    updated_at = coalesce(cast(:now as timestamptz), clock_timestamp())
where order_id = :order_id and epoch = :epoch and status = 'creating'
returning epoch

-- name: leave_tombstone
-- The tombstone: no transaction that locks the row afterwards can make a shipment of it.
insert into shipments (order_id, status, undo_owed, epoch, created_at, updated_at)
values (
    :order_id, 'cancelled', true, 1,
    coalesce(cast(:now as timestamptz), clock_timestamp()), coalesce(cast(:now as timestamptz), clock_timestamp())
)
on conflict (order_id) do update
set status = 'cancelled',
    undo_owed = true,
    epoch = shipments.epoch + 1,
    leased_until = null,
    updated_at = excluded.updated_at
where shipments.status <> 'delivered'
returning epoch

-- name: owe_undo
update shipments
set undo_owed = true,
    epoch = epoch + 1,
    updated_at = coalesce(cast(:now as timestamptz), clock_timestamp())
where order_id = :order_id and status in ('refused', 'cancelled')
returning epoch

-- name: confirm_undo
update shipments
set undo_owed = false,
    updated_at = coalesce(cast(:now as timestamptz), clock_timestamp())
where order_id = :order_id and epoch = :epoch and undo_owed

-- name: mark_delivered
-- The carrier says that there is nothing left to cancel: the parcel has reached its addressee.
update shipments
set status = 'delivered',
    shipment_id = coalesce(shipment_id, :shipment_id),
    carrier = :carrier,
    parcel_id = :parcel_id,
    tracking_number = :tracking_number,
    undo_owed = false,
    leased_until = null,
    updated_at = coalesce(cast(:now as timestamptz), clock_timestamp())
where order_id = :order_id

-- name: sweep_owed
-- The clock is read in a sub-select, because no index is compared with a bare volatile function; and what is chosen is found again by
-- a list, because a join would be planned for more rows than the limit. Either would read the whole table.
with owed as materialized (
    select order_id
    from shipments
    where undo_owed and updated_at < (select coalesce(cast(:now as timestamptz), clock_timestamp())) - make_interval(secs => :age_s)
    order by updated_at
    limit :limit
    for no key update skip locked
)
update shipments
set epoch = epoch + 1,
    updated_at = coalesce(cast(:now as timestamptz), clock_timestamp())
where order_id = any(array(select order_id from owed))
returning order_id, epoch
