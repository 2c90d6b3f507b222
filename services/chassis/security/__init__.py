"""Cryptography: tokens, key sets, signatures, encryption at rest, fingerprints."""
