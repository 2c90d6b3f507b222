"""`make soak`: the whole system under load while everything around it fails, and what must hold afterwards."""
