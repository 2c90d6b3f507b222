-- Every statement of the session store that takes a lock.
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
INSERT INTO carts (user_id) VALUES (:user_id) ON CONFLICT (user_id) DO NOTHING;

-- name: put_line
INSERT INTO cart_items AS line (user_id, sku, quantity)
VALUES (:user_id, :sku, :quantity)
ON CONFLICT (user_id, sku) DO UPDATE SET quantity = excluded.quantity;

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

-- name: move_stock
-- The rows are locked by lock_products already. `held` and `on_hand` change by sign times the pieces.
UPDATE products
SET held = products.held + change.quantity * :held_sign,
    on_hand = products.on_hand + change.quantity * :on_hand_sign
FROM unnest(cast(:skus AS text[]), cast(:quantities AS integer[])) AS change (sku, quantity)
WHERE products.sku = change.sku;

-- name: insert_product
INSERT INTO products (sku, name, price_minor, currency, on_hand)
VALUES (:sku, :name, :price_minor, :currency, :on_hand)
ON CONFLICT (sku) DO NOTHING
RETURNING sku;

-- name: lock_product
SELECT currency, held FROM products WHERE sku = :sku FOR NO KEY UPDATE;
