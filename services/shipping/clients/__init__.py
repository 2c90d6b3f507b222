"""HTTP out: the carrier."""
