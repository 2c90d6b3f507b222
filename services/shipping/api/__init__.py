"""HTTP in: the routes of shipping, and how an order is handed to the carrier."""
