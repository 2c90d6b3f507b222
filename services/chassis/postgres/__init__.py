"""Postgres: connections with bounded waits, named statements, and what an error of either means."""
