"""The pure core: facts and commands in, outcomes and rows out; no I/O, clock or randomness."""
