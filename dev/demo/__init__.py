"""`make demo`: the life of an order and of everything that can go wrong with it, told against a running stack."""
