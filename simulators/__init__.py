"""The outside world in development and tests: a payment processor and a carrier, simulated by their protocols."""
