"""Workloads that measure the engine: rates, latencies and CPU per item, on a real Postgres with durability on."""
