"""Approvals of orders by administrators: pages, sign-in and decisions."""
