"""HTTP in: translation only; what is decided, the engine decides."""
