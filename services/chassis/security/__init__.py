"""What proves where something comes from, and hides it: tokens, key sets, signatures, seals, fingerprints."""
