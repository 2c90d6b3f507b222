"""The routes of shipping."""
