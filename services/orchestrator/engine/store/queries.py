"""The named statements of `queries.sql`, which lock, and of `reads.sql`, which do not."""

from services.chassis.postgres.sql import Queries

queries = Queries.beside(__file__)
"""Read the statements that take locks, once."""


reads = Queries.beside(__file__, "reads.sql")
"""Read the statements that only read, once."""
