"""Fuzzing the HTTP surface from its OpenAPI documents."""
