"""The session service: one writer per user over catalogue, baskets, checkouts and orders."""
