"""Messages between services: the outbox, the relay that empties it, and the inbox that knows what has arrived."""
