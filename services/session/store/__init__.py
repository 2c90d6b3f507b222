"""The only SQL of the session service; functions take the connection first and never commit."""
