"""Calls to other services: one try each, over aiohttp's connections, every answer told apart."""
