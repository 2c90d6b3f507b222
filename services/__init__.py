"""The three services of Order Saga, what they share, and what they say to each other."""
