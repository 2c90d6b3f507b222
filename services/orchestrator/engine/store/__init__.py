"""The only SQL of the engine: tables, named statements, and functions that take a connection and never commit."""
