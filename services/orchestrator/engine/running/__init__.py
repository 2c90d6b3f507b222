"""One attempt of one saga: driving its code, calling its steps, and writing what came of it."""
