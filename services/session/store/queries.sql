-- The statements that an order costs, and every statement of the session store that takes a lock.
--
-- Lock order (each transaction takes a subset, in this order):
--   1. the idempotency key                 (chassis; never waited for)
--   2. the cart of the user                one writer per user
--   3. the order
--   4. the reservation of one attempt
--   5. products, sorted by sku
--   6. outbox keys, sorted                 (chassis, at the end of the transaction)
--
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
--
-- Order rows are locked FOR NO KEY UPDATE, so that the foreign key of a history line never waits for
-- them (a cancel's answer would otherwise close a circle with cancel, by 6 -> 3).

-- name: lock_cart
SELECT version FROM carts WHERE user_id = :user_id FOR NO KEY UPDATE;

-- name: create_cart
INSERT INTO carts (user_id) VALUES (:user_id) ON CONFLICT (user_id) DO NOTHING RETURNING version;

-- name: read_cart
-- One statement, so that version and lines belong together; a line of nulls for a basket that is empty.
SELECT carts.version, products.sku, products.name, cart_items.quantity, products.price_minor, products.currency
FROM carts
LEFT JOIN cart_items ON cart_items.user_id = carts.user_id
LEFT JOIN products ON products.sku = cart_items.sku
WHERE carts.user_id = :user_id
ORDER BY products.sku COLLATE "C";

-- name: read_product
SELECT sku, name, price_minor, currency, on_hand - held AS available FROM products WHERE sku = :sku;

-- name: save_cart
-- Writes what has changed of a locked basket: lines that are gone, lines that are new or of another quantity, the version.
WITH gone AS (
    DELETE FROM cart_items WHERE user_id = :user_id AND sku = ANY(cast(:gone AS text[]))
), put AS (
    INSERT INTO cart_items AS line (user_id, sku, quantity)
    SELECT :user_id, changed.sku, changed.quantity
    FROM unnest(cast(:skus AS text[]), cast(:quantities AS integer[])) AS changed (sku, quantity)
    ON CONFLICT (user_id, sku) DO UPDATE SET quantity = excluded.quantity
)
UPDATE carts SET version = :version WHERE user_id = :user_id;

-- name: read_order
SELECT user_id, attempt, status FROM orders WHERE order_id = :order_id;

-- name: read_attempt
SELECT lines, address, token_hash, key_hash, executed_at
FROM attempts
WHERE order_id = :order_id AND attempt = :attempt;

-- name: orders_of
-- Reads a user's orders, newest first, as their present attempts stand.
SELECT orders.order_id, orders.user_id, orders.attempt, orders.status, orders.placed_at, attempts.lines, attempts.total_minor,
       attempts.currency, attempts.address, attempts.payment, attempts.shipment
FROM orders
JOIN attempts ON attempts.order_id = orders.order_id AND attempts.attempt = orders.attempt
WHERE orders.user_id = :user_id AND {conditions}
ORDER BY orders.placed_at DESC, orders.order_id DESC
LIMIT :limit;

-- name: of_this_id
orders.order_id = :order_id

-- name: of_status
orders.status = :status

-- name: placed_before
-- Goes on behind the last one of the page before.
(orders.placed_at, orders.order_id) < (cast(:placed_at AS timestamptz), cast(:order_id AS text))

-- name: history_of
SELECT order_id, at, status, detail
FROM order_history
WHERE order_id = ANY(cast(:order_ids AS text[]))
ORDER BY order_id, entry_no;

-- name: addresses_behind
-- Reads addresses in the order of their attempts, from after one on.
SELECT order_id, attempt, address
FROM attempts
WHERE (order_id, attempt) > (cast(:order_id AS text), cast(:attempt AS integer))
ORDER BY order_id, attempt
LIMIT :limit;

-- name: reseal_address
-- Changes an address unless it has been changed, or erased, meanwhile.
UPDATE attempts
SET address = cast(:anew AS jsonb)
WHERE order_id = :order_id AND attempt = :attempt AND address = cast(:address AS jsonb);

-- name: open_checkout
SELECT order_id FROM orders WHERE user_id = :user_id AND checkout_open;

-- name: lock_order
SELECT order_id, user_id, attempt, status, checkout_open
FROM orders
WHERE order_id = :order_id
FOR NO KEY UPDATE;

-- name: lock_orders_of_user
SELECT order_id, status
FROM orders
WHERE user_id = :user_id
ORDER BY order_id
FOR NO KEY UPDATE;

-- name: insert_order
-- Waits for another transaction that inserts the same id; no row back: it is taken.
INSERT INTO orders (order_id, user_id, attempt, status, checkout_open, placed_at, updated_at)
SELECT :order_id, :user_id, 1, 'pending_payment', true, moment.at, moment.at
FROM (SELECT coalesce(cast(:now AS timestamptz), clock_timestamp()) AS at) AS moment
ON CONFLICT (order_id) DO NOTHING
RETURNING order_id;

-- name: try_again
-- The next attempt at a locked order.
UPDATE orders
SET attempt = :attempt,
    status = 'pending_payment',
    checkout_open = true,
    updated_at = coalesce(cast(:now AS timestamptz), clock_timestamp())
WHERE order_id = :order_id;

-- name: freeze
-- Writes down what an attempt orders, and the first line of its history.
WITH moment AS MATERIALIZED (
    SELECT coalesce(cast(:now AS timestamptz), clock_timestamp()) AS at
), frozen AS (
    INSERT INTO attempts (order_id, attempt, lines, total_minor, currency, address, token_hash, key_hash, placed_at)
    SELECT cast(:order_id AS text), cast(:attempt AS integer), cast(:lines AS jsonb), :total_minor,
           :currency, cast(:address AS jsonb), :token_hash, :key_hash, moment.at
    FROM moment
)
INSERT INTO order_history (order_id, attempt, at, status, detail)
SELECT cast(:order_id AS text), cast(:attempt AS integer), moment.at, :status, :detail
FROM moment;

-- name: mark_executed
-- Marks a locked attempt as paid; its order no longer keeps its customer from another checkout.
WITH moment AS MATERIALIZED (
    SELECT coalesce(cast(:now AS timestamptz), clock_timestamp()) AS at
), marked AS (
    UPDATE attempts SET executed_at = moment.at
    FROM moment
    WHERE attempts.order_id = :order_id AND attempts.attempt = :attempt
)
UPDATE orders SET checkout_open = false, updated_at = moment.at
FROM moment
WHERE orders.order_id = :order_id;

-- name: write_news
-- Writes what an event tells of a locked order: where it stands, what is known of the attempt, a line of history.
WITH moment AS MATERIALIZED (
    SELECT coalesce(cast(:now AS timestamptz), clock_timestamp()) AS at
), moved AS (
    UPDATE orders SET status = :status, checkout_open = :checkout_open, updated_at = moment.at
    FROM moment
    WHERE cast(:moved AS boolean) AND orders.order_id = :order_id
), known AS (
    UPDATE attempts
    SET payment = coalesce(cast(:payment AS jsonb), payment),
        shipment = coalesce(cast(:shipment AS jsonb), shipment)
    WHERE (cast(:payment AS text) IS NOT NULL OR cast(:shipment AS text) IS NOT NULL)
      AND order_id = :order_id AND attempt = :attempt
)
INSERT INTO order_history (order_id, attempt, at, status, detail)
SELECT :order_id, :attempt, moment.at, :status, :detail
FROM moment
WHERE cast(:told AS boolean);

-- name: tell
INSERT INTO order_history (order_id, attempt, at, status, detail)
VALUES (:order_id, :attempt, coalesce(cast(:now AS timestamptz), clock_timestamp()), :status, :detail);

-- name: last_told
SELECT status
FROM order_history
WHERE order_id = :order_id AND attempt = :attempt AND status = ANY(cast(:statuses AS text[]))
ORDER BY entry_no DESC
LIMIT 1;

-- name: insert_reservation
-- Waits for another transaction that inserts the same attempt; no row back: it exists.
INSERT INTO reservations (order_id, attempt, status, created_at, settled_at)
SELECT :order_id, :attempt, :status, moment.at, CASE WHEN :status = 'held' THEN NULL ELSE moment.at END
FROM (SELECT coalesce(cast(:now AS timestamptz), clock_timestamp()) AS at) AS moment
ON CONFLICT (order_id, attempt) DO NOTHING
RETURNING order_id;

-- name: lock_reservation
SELECT status, refused_sku
FROM reservations
WHERE order_id = :order_id AND attempt = :attempt
FOR NO KEY UPDATE;

-- name: lock_products
SELECT sku, on_hand - held AS available
FROM products
WHERE sku = ANY(cast(:skus AS text[]))
ORDER BY sku
FOR NO KEY UPDATE;

-- name: read_items
SELECT sku, quantity
FROM reservation_items
WHERE order_id = :order_id AND attempt = :attempt
ORDER BY sku COLLATE "C";

-- name: lock_held_products
-- The products of a locked reservation.
SELECT products.sku
FROM reservation_items
JOIN products ON products.sku = reservation_items.sku
WHERE reservation_items.order_id = :order_id AND reservation_items.attempt = :attempt
ORDER BY products.sku
FOR NO KEY UPDATE OF products;

-- name: hold
-- Holds pieces of products that are locked already, for a reservation that has just been inserted.
WITH wanted AS MATERIALIZED (
    SELECT * FROM unnest(cast(:skus AS text[]), cast(:quantities AS integer[])) AS wanted (sku, quantity)
), noted AS (
    INSERT INTO reservation_items (order_id, attempt, sku, quantity)
    SELECT :order_id, :attempt, wanted.sku, wanted.quantity FROM wanted
)
UPDATE products SET held = products.held + wanted.quantity
FROM wanted
WHERE products.sku = wanted.sku;

-- name: refuse
UPDATE reservations
SET status = 'refused',
    refused_sku = :sku,
    settled_at = coalesce(cast(:now AS timestamptz), clock_timestamp())
WHERE order_id = :order_id AND attempt = :attempt;

-- name: settle
-- Ends a locked reservation as `released` or `sold`; what it held (its products are locked) is free again, or gone.
WITH settled AS (
    UPDATE reservations
    SET status = :status,
        refused_sku = NULL,
        settled_at = coalesce(cast(:now AS timestamptz), clock_timestamp())
    WHERE order_id = :order_id AND attempt = :attempt
)
UPDATE products
SET held = products.held - item.quantity,
    on_hand = products.on_hand - CASE WHEN cast(:status AS text) = 'sold' THEN item.quantity ELSE 0 END
FROM reservation_items AS item
WHERE cast(:was_held AS boolean)
  AND item.order_id = :order_id AND item.attempt = :attempt
  AND products.sku = item.sku;

-- name: insert_product
INSERT INTO products (sku, name, price_minor, currency, on_hand)
VALUES (:sku, :name, :price_minor, :currency, :on_hand)
ON CONFLICT (sku) DO NOTHING
RETURNING sku;

-- name: lock_product
SELECT currency, held FROM products WHERE sku = :sku FOR NO KEY UPDATE;

-- name: change_product
UPDATE products SET name = :name, price_minor = :price_minor, on_hand = :on_hand WHERE sku = :sku;

-- name: read_catalog
SELECT sku, name, price_minor, currency, on_hand - held AS available FROM products ORDER BY sku;

-- name: erase_user
-- Erases what is known of a customer whose orders are locked and have ended: basket, addresses, tokens and words.
WITH emptied AS (
    DELETE FROM cart_items WHERE user_id = :user_id
), unknown AS (
    UPDATE attempts SET address = 'null', token_hash = :gone
    FROM orders
    WHERE orders.user_id = :user_id AND attempts.order_id = orders.order_id
)
UPDATE order_history SET detail = :gone
FROM orders
WHERE orders.user_id = :user_id AND order_history.order_id = orders.order_id;
