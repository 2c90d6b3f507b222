"""What a basket, a checkout, an order and a piece of stock are, and may become: pure values, no I/O."""
