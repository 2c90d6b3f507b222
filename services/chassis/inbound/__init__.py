"""Requests: what each passes before its route and on the way back, who makes it, and that it is answered once."""
