-- The statements that an order costs, and every statement of the session store that takes a lock.
--
-- Lock order (each transaction takes a subset, in this order):
--   1. the idempotency key, never waited for (chassis)
--   2. the cart of the user, which has one writer
--   3. the order
--   4. the reservation of one attempt
--   5. products, sorted by sku
--   6. outbox keys, sorted, at the end of the transaction (chassis)
--   basket change    cart
--   checkout         cart, order, outbox key
--   executed         cart, order, reservation
--   reserve          order, reservation, products
--   release          reservation, products
--   event            order, reservation, products
--   cancel           order, outbox key
--   cancel's answer  holds the outbox key and locks nothing more: it only inserts a line of history
--   catalogue edit   product
--   erasure          cart, orders (sorted by id), outbox key
--   resealing        attempts, one row per transaction, and only if the address is still the one that was read
--
-- Order rows are locked `for no key update`: the foreign key check of a history entry never waits for them, else a cancel's
-- answer, which holds 6 and would wait for 3, could deadlock with a cancel.

-- name: lock_cart
select version from carts where user_id = :user_id for no key update

-- name: create_cart
insert into carts (user_id) values (:user_id) on conflict (user_id) do nothing returning version

-- name: read_cart
-- One statement, so that version and lines belong together; a line of nulls for a basket that is empty.
select carts.version, products.sku, products.name, cart_items.quantity, products.price_minor, products.currency
from carts left join cart_items on cart_items.user_id = carts.user_id
left join products on products.sku = cart_items.sku
where carts.user_id = :user_id
order by products.sku collate "C"

-- name: read_product
select sku, name, price_minor, currency, on_hand - held as available from products where sku = :sku

-- name: save_cart
-- Writes what has changed of a locked basket: lines that are gone, lines that are new or of another quantity, the version.
with gone as (
    delete from cart_items where user_id = :user_id and sku = any(cast(:gone as text[]))
), put as (
    insert into cart_items as line (user_id, sku, quantity)
    select :user_id, changed.sku, changed.quantity
    from unnest(cast(:skus as text[]), cast(:quantities as integer[])) as changed (sku, quantity)
    on conflict (user_id, sku) do update set quantity = excluded.quantity
)
update carts set version = :version where user_id = :user_id

-- name: read_order
select user_id, attempt, status from orders where order_id = :order_id

-- name: read_attempt
select lines, address, token_hash, key_hash, executed_at from attempts
where order_id = :order_id and attempt = :attempt

-- name: orders_of
-- Reads a user's orders, newest first, each with its current attempt; without its lines behind so many of them.
select orders.order_id, orders.user_id, orders.attempt, orders.status, orders.placed_at, attempts.total_minor, attempts.currency,
       attempts.address, attempts.payment, attempts.shipment,
       case when sum(jsonb_array_length(lines)) over newer - jsonb_array_length(lines) < :lines_max then lines end as lines
from orders
join attempts on attempts.order_id = orders.order_id and attempts.attempt = orders.attempt
where orders.user_id = :user_id and {conditions}
window newer as (order by orders.placed_at desc, orders.order_id desc rows unbounded preceding)
order by orders.placed_at desc, orders.order_id desc
limit :limit

-- name: of_this_id
orders.order_id = :order_id

-- name: of_status
orders.status = :status

-- name: placed_before
-- Continues after the last order of the page before.
(orders.placed_at, orders.order_id) < (cast(:placed_at as timestamptz), cast(:order_id as text))

-- name: history_of
select order_id, at, status, detail
from order_history
where order_id = any(cast(:order_ids as text[]))
order by order_id, entry_no

-- name: addresses_behind
-- Reads addresses by order and attempt, after the given one.
select order_id, attempt, address
from attempts
where (order_id, attempt) > (cast(:order_id as text), cast(:attempt as integer))
order by order_id, attempt
limit :limit

-- name: reseal_address
-- Changes an address unless it has been changed, or erased, meanwhile.
update attempts
set address = cast(:anew as jsonb)
where order_id = :order_id and attempt = :attempt and address = cast(:address as jsonb)

-- name: open_checkout
select order_id from orders where user_id = :user_id and checkout_open

-- name: lock_order
select order_id, user_id, attempt, status, checkout_open
from orders
where order_id = :order_id
for no key update

-- name: lock_orders_of_user
select order_id, status
from orders
where user_id = :user_id
order by order_id
for no key update

-- name: insert_order
-- Waits for another transaction that inserts the same id; no row back: it is taken.
insert into orders (order_id, user_id, attempt, status, checkout_open, placed_at, updated_at)
select :order_id, :user_id, 1, 'pending_payment', true, moment.at, moment.at
from (select coalesce(cast(:now as timestamptz), clock_timestamp()) as at) as moment
on conflict (order_id) do nothing
returning order_id

-- name: try_again
-- The next attempt at a locked order.
update orders
set attempt = :attempt,
    status = 'pending_payment',
    checkout_open = true,
    updated_at = coalesce(cast(:now as timestamptz), clock_timestamp())
where order_id = :order_id

-- name: freeze
-- Writes down what an attempt orders, and the first line of its history.
with moment as materialized (
    select coalesce(cast(:now as timestamptz), clock_timestamp()) as at
), frozen as (
    insert into attempts (order_id, attempt, lines, total_minor, currency, address, token_hash, key_hash, placed_at)
    select cast(:order_id as text), cast(:attempt as integer), cast(:lines as jsonb), :total_minor,
           :currency, cast(:address as jsonb), :token_hash, :key_hash, moment.at
    from moment
)
insert into order_history (order_id, attempt, at, status, detail)
select cast(:order_id as text), cast(:attempt as integer), moment.at, :status, :detail
from moment

-- name: mark_executed
-- Marks a locked attempt as paid; its order no longer keeps its customer from another checkout.
with moment as materialized (
    select coalesce(cast(:now as timestamptz), clock_timestamp()) as at
), marked as (
    update attempts set executed_at = moment.at
    from moment
    where attempts.order_id = :order_id and attempts.attempt = :attempt
)
update orders set checkout_open = false, updated_at = moment.at
from moment
where orders.order_id = :order_id

-- name: write_update
-- Applies an event to a locked order: its status, what is known of the attempt, an entry in the history.
with moment as materialized (
    select coalesce(cast(:now as timestamptz), clock_timestamp()) as at
), moved as (
    update orders set status = :status, checkout_open = :checkout_open, updated_at = moment.at
    from moment
    where cast(:moved as boolean) and orders.order_id = :order_id
), known as (
    update attempts
    set payment = coalesce(cast(:payment as jsonb), payment),
        shipment = coalesce(cast(:shipment as jsonb), shipment)
    where (cast(:payment as text) is not null or cast(:shipment as text) is not null)
      and order_id = :order_id and attempt = :attempt
)
insert into order_history (order_id, attempt, at, status, detail)
select :order_id, :attempt, moment.at, :status, :detail
from moment
where cast(:has_entry as boolean)

-- name: add_entry
insert into order_history (order_id, attempt, at, status, detail)
values (:order_id, :attempt, coalesce(cast(:now as timestamptz), clock_timestamp()), :status, :detail)

-- name: add_refund_entry
-- Adds the entry of a refund, unless the customer never saw the payment: a payment that was only voided cost nothing.
insert into order_history (order_id, attempt, at, status, detail)
select order_id, attempt, :at, :status, :detail
from attempts
where order_id = :order_id and attempt = :attempt and payment is not null

-- name: last_entry
select status, count(*) over () as times
from order_history
where order_id = :order_id and attempt = :attempt and status = any(cast(:statuses as text[]))
order by entry_no desc
limit 1

-- name: insert_reservation
-- Waits for another transaction that inserts the same attempt; no row back: it exists.
insert into reservations (order_id, attempt, status, created_at, settled_at)
select :order_id, :attempt, :status, moment.at, case when :status = 'held' then null else moment.at end
from (select coalesce(cast(:now as timestamptz), clock_timestamp()) as at) as moment
on conflict (order_id, attempt) do nothing
returning order_id

-- name: lock_reservation
select status, refused_sku
from reservations
where order_id = :order_id and attempt = :attempt
for no key update

-- name: lock_products
select sku, on_hand - held as available
from products
where sku = any(cast(:skus as text[]))
order by sku
for no key update

-- name: read_items
select sku, quantity
from reservation_items
where order_id = :order_id and attempt = :attempt
order by sku collate "C"

-- name: lock_held_products
-- The products of a locked reservation.
select products.sku
from reservation_items
join products on products.sku = reservation_items.sku
where reservation_items.order_id = :order_id and reservation_items.attempt = :attempt
order by products.sku
for no key update of products

-- name: hold
-- Holds pieces of products that are locked already, for a reservation that has just been inserted.
with wanted as materialized (
    select * from unnest(cast(:skus as text[]), cast(:quantities as integer[])) as wanted (sku, quantity)
), noted as (
    insert into reservation_items (order_id, attempt, sku, quantity)
    select :order_id, :attempt, wanted.sku, wanted.quantity from wanted
)
update products set held = products.held + wanted.quantity
from wanted
where products.sku = wanted.sku

-- name: refuse
update reservations
set status = 'refused',
    refused_sku = :sku,
    settled_at = coalesce(cast(:now as timestamptz), clock_timestamp())
where order_id = :order_id and attempt = :attempt

-- name: settle
-- Ends a locked reservation as `released` or `sold`; what it held (its products are locked) is free again, or gone.
with settled as (
    update reservations
    set status = :status,
        refused_sku = null,
        settled_at = coalesce(cast(:now as timestamptz), clock_timestamp())
    where order_id = :order_id and attempt = :attempt
)
update products
set held = products.held - item.quantity,
    on_hand = products.on_hand - case when cast(:status as text) = 'sold' then item.quantity else 0 end
from reservation_items as item
where cast(:was_held as boolean)
  and item.order_id = :order_id and item.attempt = :attempt
  and products.sku = item.sku

-- name: insert_product
insert into products (sku, name, price_minor, currency, on_hand)
values (:sku, :name, :price_minor, :currency, :on_hand)
on conflict (sku) do nothing
returning sku

-- name: lock_product
select currency, held from products where sku = :sku for no key update

-- name: change_product
update products set name = :name, price_minor = :price_minor, on_hand = :on_hand where sku = :sku

-- name: read_catalog
select sku, name, price_minor, currency, on_hand - held as available from products
where sku > :behind order by sku limit :limit

-- name: erase_user
-- Erases what is known of a customer whose orders are locked and have ended: basket, addresses, tokens and words.
with emptied as (
    delete from cart_items where user_id = :user_id
), unknown as (
    update attempts set address = 'null', token_hash = :gone
    from orders
    where orders.user_id = :user_id and attempts.order_id = orders.order_id
)
update order_history set detail = :gone
from orders
where orders.user_id = :user_id and order_history.order_id = orders.order_id
