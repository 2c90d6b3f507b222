"""HTTP in: the routes of shipping."""
