"""The rules of baskets, checkouts, orders and stock: pure values, no I/O."""
