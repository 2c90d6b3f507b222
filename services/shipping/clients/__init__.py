"""The client of the carrier."""
