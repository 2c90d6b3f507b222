"""The chassis: how a service runs. It knows no business noun."""
