"""Calls to other services: one try each, over aiohttp's connections, each answer classified."""
