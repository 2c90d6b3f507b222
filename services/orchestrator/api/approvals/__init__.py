"""Approvals by people: their pages, the sign-in before these, and what a decision comes to."""
