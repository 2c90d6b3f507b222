"""The only SQL of shipping."""
