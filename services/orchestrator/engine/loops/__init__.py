"""The background duties of a replica: claiming what is due, keeping leases, removing what is old."""
