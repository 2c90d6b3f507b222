"""The named statements of `queries.sql`."""

from services.chassis.postgres.sql import Queries

queries = Queries.beside(__file__)
"""Read them, once."""
