"""Incoming requests: limits, authentication, strict JSON, idempotency keys, problems."""
