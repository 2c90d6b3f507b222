"""The contenders as the driver sees them: how each is set up, started, killed, and spoken to."""
