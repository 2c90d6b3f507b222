"""Messages between services: the outbox, the relay that sends them, and the inbox that recognises repeats."""
