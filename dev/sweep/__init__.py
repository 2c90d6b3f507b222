"""The sweep of crash points, as a command."""
