"""Pure values of the engine: no I/O, no clock, no randomness."""
