"""What the tests share: a real Postgres, a clock that is moved by hand, and a watch for what is left behind."""
