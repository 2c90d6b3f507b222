"""The processes that are measured: one worker per contender, and the shipping stub that all of them call."""
